"""Stored values to SUV: dose, decay, times, body size, and what makes them implausible."""
