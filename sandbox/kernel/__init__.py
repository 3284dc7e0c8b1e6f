"""The only room with ctypes and raw system calls: one thin typed function for each, errors as OSError."""
