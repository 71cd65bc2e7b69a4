"""Two processes in a group, for tests of what workers do together."""

import socket

import torch


def free_port() -> int:
    """A free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def _member(rank, port, body, arguments, queue):
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    queue.put(body(rank, *arguments))
    dist.barrier()
    dist.destroy_process_group()


def of_two(body, *arguments):
    """The results of `body(rank, *arguments)` in two processes of a group, as they finish."""
    spawn = torch.multiprocessing.get_context("spawn")
    queue, port = spawn.Queue(), free_port()
    processes = [
        spawn.Process(target=_member, args=(rank, port, body, arguments, queue))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    results = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    return results
