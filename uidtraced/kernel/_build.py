"""Builds `_bpf`, the cffi module (API mode): libbpf, bpf/event.h and the helpers in C.

Runs at build time only. Constants are `...`, so that the C compiler fills them in.
"""

import hashlib
import re
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent
BPF = HERE.parent.parent / "bpf"
EVENT_H = BPF / "event.h"


def declarations(header: str) -> str:
    """Return *header* without what cffi's parser does not take: guards and comments."""
    no_comments = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    return re.sub(r"^#(ifndef|define \w+$|endif).*$", "", no_comments, flags=re.MULTILINE)


HEADER = EVENT_H.read_text(encoding="utf-8")
SHARE_H = (BPF / "share.h").read_text(encoding="utf-8")
# data.h has what the maps hold that only the program reads
STRUCTS = "".join(
    map(declarations, (HEADER, SHARE_H, (BPF / "data.h").read_text(encoding="utf-8")))
)
LAYOUT = hashlib.sha256(STRUCTS.encode()).hexdigest()[:16]

ffibuilder = FFI()
ffibuilder.cdef(
    "typedef unsigned char __u8; typedef unsigned short __u16;"
    "typedef unsigned int __u32; typedef unsigned long long __u64;"
    + declarations(HEADER)
    + (HERE / "libbpf.cdef").read_text(encoding="utf-8")
)
ffibuilder.set_source(
    "uidtraced.kernel._bpf",
    f"#include <linux/bpf.h>\n{HEADER}{SHARE_H}"
    f'static const char *const uidtraced_layout = "{LAYOUT}";\n'
    + (HERE / "helpers.c").read_text(encoding="utf-8"),
    libraries=["bpf"],
    extra_compile_args=["-Wall", "-Wno-unused-function"],
)
