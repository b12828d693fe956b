"""The chip as SystemVerilog, with what generates its constants."""
