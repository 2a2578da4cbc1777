"""What the cffi module offers; `libbpf` is its sole importer."""

from typing import Any

ffi: Any
lib: Any
