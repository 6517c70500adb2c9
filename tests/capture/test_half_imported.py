"""Libraries are patched whole, also where another thread is importing them just now."""

from __future__ import annotations

import sys
import threading

from prodkit.capture.lineage.wrappers import patch_module

SLOW = "import threading\nbegun, go_on = threading.Event(), threading.Event()\nbegun.set()\ngo_on.wait(60)\nname = 'whole'\n"


def test_a_module_that_another_thread_imports_is_waited_for(tmp_path, monkeypatch):
    """The patch sees every name of the module, and not the half that was there when it was asked for."""
    (tmp_path / "slowly_imported.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    importing = threading.Thread(target=__import__, args=("slowly_imported",))
    importing.start()
    while "slowly_imported" not in sys.modules or not hasattr(sys.modules["slowly_imported"], "begun"):
        pass
    module = sys.modules["slowly_imported"]
    assert module.begun.wait(60)
    threading.Timer(0.2, module.go_on.set).start()
    seen = []
    patch_module("slowly_imported", lambda patched: seen.append(patched.name))
    importing.join()
    assert seen == ["whole"]
    del sys.modules["slowly_imported"]
