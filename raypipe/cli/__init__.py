"""The command `raypipe`: one file for each command."""
