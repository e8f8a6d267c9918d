"""Records what is sent, with a receiver or without one."""
