"""Covers over what the payload shall not see or change, in its own mounts: masked and read-only paths. Process: init."""

from __future__ import annotations

import errno
import os

from sandbox.kernel import mounts
from sandbox.kernel.libc import AT_FDCWD
from sandbox.model import steps

_ABSENT = (errno.ENOENT, errno.ENOTDIR)
_MASK_FILE = b"/dev/.masked/file"
_MASK_DIRECTORY = b"/dev/.masked/directory"


def put(masks: tuple[bytes, ...], readonly: tuple[bytes, ...], progress: steps.Progress) -> None:
    """Cover `masks` with emptiness, and make `readonly` read-only. Raises OSError."""
    at = progress.at
    for cover in (_MASK_FILE, _MASK_DIRECTORY) if masks else ():
        at(steps.INIT_MASK)
        os.stat(cover)  # so that its absence is not taken for that of a path
    for index, path in enumerate(masks):
        at(steps.INIT_MASK, index)
        _mask(path)
    for index, path in enumerate(readonly):
        at(steps.INIT_READ_ONLY, index)
        if _bind_if_there(path, path, mounts.MS_REC):
            mounts.set_attributes(AT_FDCWD, path, mounts.ATTR_RDONLY, recursive=True)


def _mask(path: bytes) -> None:
    """Cover `path` with something empty of its kind; what this kernel does not have needs no cover."""
    for cover in (_MASK_FILE, _MASK_DIRECTORY):  # ENOTDIR: not of this kind, or nothing that could be there
        try:
            mounts.mount(cover, path, None, mounts.MS_BIND)
        except OSError as error:
            if error.errno == errno.ENOENT and not _is_there(path):
                return
            if error.errno != errno.ENOTDIR:
                raise
        else:
            return
    if _is_there(path):  # somebody around us answers in the kernel's place
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def _bind_if_there(source: bytes, target: bytes, flags: int) -> bool:
    """Bind `source` over `target`; a target that this kernel does not have needs no cover."""
    try:
        mounts.mount(source, target, None, mounts.MS_BIND | flags)
    except OSError as error:
        if error.errno in _ABSENT and not _is_there(target):
            return False
        raise
    return True


def _is_there(path: bytes) -> bool:
    """Whether something is at `path`, behind all links. Raises OSError where the kernel does not say."""
    try:
        os.stat(path)
    except OSError as error:
        if error.errno in _ABSENT:
            return False
        raise
    return True
