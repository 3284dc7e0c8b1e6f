"""The probe within a warm interpreter, which nothing executes after the launcher has forked it: LIBRARY COMMAND [ARGUMENT]..."""

import ctypes
import os
import signal
import sys

# Python ignores these from its start on; the probe expects what a program finds that is executed.
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)

with open("/proc/self/cmdline", "rb") as own:
    executed = own.read().split(b"\0")[:-1] == list(map(os.fsencode, sys.orig_argv))
if executed:
    sys.exit("probe: this interpreter was executed, it is not warm")

# Its command line is the launcher's: what looks for it on the host finds the last word as its name.
library = ctypes.CDLL(sys.argv[1])
library.prctl(15, os.fsencode(sys.argv[-1])[:15], 0, 0, 0)  # PR_SET_NAME
ctypes.c_char_p.in_dll(library, "own_program").value = os.fsencode(sys.argv[1].removesuffix(".so"))
words = [os.fsencode(word) for word in ["probe", *sys.argv[2:]]]
status = library.main(len(words), (ctypes.c_char_p * (len(words) + 1))(*words, None))
library.fflush(None)
os._exit(status & 0xFF)
