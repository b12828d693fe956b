"""The RTL as a running program: Verilator, its driver, sessions."""
