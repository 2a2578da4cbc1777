from __future__ import annotations

import pytest

from uidtraced.errors import UnsupportedError
from uidtraced.kernel import lockdown
from uidtraced.kernel.probe import _inner_map_fix


@pytest.mark.parametrize(
    ("release", "version", "ok", "said"),
    [
        ("6.18.44-x", "#1 SMP", True, "kernel 6.18.44 has the fix"),
        ("6.7", "#1 SMP", True, "kernel 6.7 has the fix"),
        ("6.1.74", "#1 SMP", None, "kernel 6.1.74 may free an inner map that is in use"),
        ("5.10.214", "#1 SMP", True, "kernel 5.10.214 has the fix"),
        ("5.11.300", "#1 SMP", None, "kernel 5.11.300 may free"),
        (
            "5.10.0-46-amd64",
            "#1 SMP Debian 5.10.262-1 (2026-07-31)",
            True,
            "kernel Debian 5.10.262",
        ),
        ("5.10.0-9-amd64", "#1 SMP Debian 5.10.70-1 (2021-09-30)", None, "kernel Debian 5.10.70"),
        ("unknown", "", None, "kernel unknown"),
    ],
)
def test_kernels_that_free_inner_maps_early_are_told_of(release, version, ok, said) -> None:
    found = _inner_map_fix(release, version)
    assert (found.ok, found.needed) == (ok, False)
    assert found.detail.startswith(said)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("[none] integrity confidentiality\n", "none"),
        ("none [integrity] confidentiality\n", "integrity"),
        ("none integrity [confidentiality]\n", "confidentiality"),
        ("", None),
        (None, None),
    ],
)
def test_only_a_kernel_that_is_known_to_forbid_reading_is_refused(
    tmp_path, monkeypatch, text, mode
) -> None:
    monkeypatch.setattr(lockdown, "LOCKDOWN", tmp_path / "lockdown")
    if text is not None:
        lockdown.LOCKDOWN.write_text(text)
    assert lockdown.lockdown_mode() == mode
    if mode == "confidentiality":
        with pytest.raises(UnsupportedError, match="boot with lockdown=integrity"):
            lockdown.need_reading()
    else:
        lockdown.need_reading()
