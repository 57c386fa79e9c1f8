"""Relaying inside the kernel: settled streams pass through an eBPF program instead of a socket."""
