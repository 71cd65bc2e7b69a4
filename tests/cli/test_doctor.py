"""`raypipe doctor`: each finding, and what to do about a problem."""

from __future__ import annotations

import shutil

import pytest

from raypipe.cli import doctor
from raypipe.cli.main import main


def facts(findings):
    return {finding.name: finding for finding in findings}


def test_doctor_prints_what_the_machine_has(capsys):
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out
    names = ("cores", "bfloat16", "memory", "GPUs", "disk", "ray", "torch", "vLLM", "compilers")
    for name in (*names, "Ray token", "port 8265", "port 8000", "port 6379"):
        assert f"  {name} " in output, name
    assert "problem" in output.splitlines()[-1]


def test_number_formats_come_from_the_flags_of_the_processor():
    both = "model name : x\nflags : fpu avx512_bf16 amx_bf16\n"
    assert "AVX-512 BF16, AMX" in facts(doctor.processor(both))["bfloat16"].fact
    assert "emulated" in facts(doctor.processor("flags : fpu avx2\n"))["bfloat16"].fact


def test_too_little_memory_is_a_problem_with_advice():
    little = doctor.memory("MemTotal: 4194304 kB\nMemAvailable: 1048576 kB\n")
    assert "4.0 GiB, 1.0 GiB free" in little.fact and little.todo
    assert not doctor.memory("MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n").todo
    assert doctor.memory("").fact == "unknown"


def test_missing_compilers_and_packages_say_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "apt-get install" in doctor.compilers().todo
    assert "none" in doctor.gpus().fact
    monkeypatch.setattr(doctor, "_version", lambda name: "")
    packages = facts(doctor.packages())
    assert packages["ray"].todo and "--engine transformers" in packages["vLLM"].todo


@pytest.mark.parametrize(
    "script,fact,todo",
    [
        (
            "echo 'NVIDIA H200, 143771 MiB'; echo 'NVIDIA H200, 143771 MiB'",
            "H200, 143771 MiB; ",
            "",
        ),
        ("exit 9", "none that the driver lists", "check the driver with nvidia-smi"),
        ("true", "none that the driver lists", "check the driver with nvidia-smi"),
    ],
)
def test_gpus_are_those_that_the_driver_lists(script, fact, todo, tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert fact in doctor.gpus().fact and doctor.gpus().todo == todo
    tool.write_text("no program")
    assert "does not answer" in doctor.gpus().fact


def test_a_token_is_found_where_ray_keeps_it(monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert "none yet" in doctor.token().fact
    (tmp_path / "token").write_text("secret")
    assert "secret" not in doctor.token().fact and str(tmp_path) in doctor.token().fact


def test_a_port_in_use_is_reported(monkeypatch):
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setattr(doctor, "PORTS", {server.getsockname()[1]: "a test"})
        (finding,) = doctor.ports()
    assert finding.fact == "in use (a test)"
