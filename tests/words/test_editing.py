"""Files that people write are changed where it is meant, and nowhere else."""

from __future__ import annotations

import difflib
import threading

import pytest
import yaml

from prodkit.errors import ConfigError
from prodkit.manifest.editing import edit_yaml, read_text, write_text


def lines_changed(before: str, after: str) -> list[str]:
    return [
        line
        for line in difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
        if line[0] in "+-" and line[:3] not in {"+++", "---"}
    ]


@pytest.mark.parametrize("file", ["prodkit.yaml", "contracts/tickets.odcs.yaml"])
def test_no_change_changes_nothing(repository, file):
    """A file that is edited in no place comes back byte for byte."""
    text = (repository / file).read_text()
    assert edit_yaml(text, lambda data: None) == text


def test_only_the_meant_lines_change(repository):
    """A changed value keeps its line's alignment, a new key is one new line, and comments and order stay."""
    text = (repository / "prodkit.yaml").read_text()

    def change(data):
        data["owners"]["raci"]["uptime"]["A"] = "ana"
        data["job"]["retries"] = 5
        data["job"]["cell_timeout"] = "5m"

    assert lines_changed(text, edit_yaml(text, change)) == [
        "-    uptime:               {R: [platform], A: ben, C: [data-science], I: [security]}",
        "+    uptime:               {R: [platform], A: ana, C: [data-science], I: [security]}",
        "-  retries: 2",
        "+  retries: 5",
        "+  cell_timeout: 5m",
    ]


AWKWARD = """# head

a:   1   # why


list:
- x    # unindented
- {k:  v}
text: |
  several
  lines
quoted: 'no'   # not a bool
base: &base {x: 1}
user: *base

# tail
"""


@pytest.mark.parametrize("text", [AWKWARD, AWKWARD.replace("\n", "\r\n"), AWKWARD.replace("- ", "    - ")])
def test_awkward_layout_survives(text):
    """Blank lines, comments, anchors, literal blocks, line ends and list indents are their author's."""
    after = edit_yaml(text, lambda data: data["list"].append("y"))
    assert yaml.safe_load(after) == {**yaml.safe_load(text), "list": ["x", {"k": "v"}, "y"]}
    removed = [line for line in lines_changed(text, after) if line[0] == "-"]
    assert removed == []
    assert ("\r\n" in text) == ("\r\n" in after)


def test_from_nothing_and_from_comments_alone():
    """An empty file and one of comments get their first section."""
    assert edit_yaml("", lambda data: data.update(a=1)) == "a: 1\n"
    assert edit_yaml("# only words\n", lambda data: data.update(a=1)) == "# only words\na: 1\n"


def test_text_stays_text_beside_what_is_none():
    """New text that YAML 1.1 would read as a truth value, number or date comes back as text; what stood there stays."""
    text = "base: &b {flag: yes, at: 10:20}\none: {<<: *b, y: 012}\ntwo:\n  <<: *b\n  n: off   # for now\n"
    new = ["no", "Off", "10:20", "012", "2026-01-01", "1_000", "~", "null", "y", "1e3", "=", "plain"]

    def change(data):
        data["one"]["new"] = list(new)
        data["two"]["new"] = {"deep": list(new)}

    changed = edit_yaml(text, change)
    expected = yaml.safe_load(text)
    expected["one"]["new"], expected["two"]["new"] = new, {"deep": new}
    assert yaml.safe_load(changed) == expected
    assert "base: &b {flag: yes, at: 10:20}\n" in changed
    assert "  <<: *b\n  n: off   # for now\n" in changed
    assert yaml.safe_load(edit_yaml("# nothing yet\n", lambda data: data.update(a="no"))) == {"a": "no"}


@pytest.mark.parametrize("text", ["a: [1\n", "- a list\n", "just words\n", "a: 1\na: 2\n"])
def test_what_is_no_mapping_is_refused(text):
    """A broken file is an error that says so, not a file that is written anew."""
    with pytest.raises(ConfigError, match=r"manifest\.yaml"):
        edit_yaml(text, lambda data: None)


def test_a_file_that_changed_meanwhile_is_left_alone(tmp_path):
    """Whoever writes second on the base of an older text is refused, and the first one's work stays."""
    file = tmp_path / "prodkit.yaml"
    file.write_text("a: 1\n")
    seen = read_text(file)
    file.write_text("a: 2\n")
    with pytest.raises(ConfigError, match=r"manifest\.changed"):
        write_text(file, "a: 3\n", before=seen)
    with pytest.raises(ConfigError, match=r"manifest\.changed"):
        write_text(file, "a: 3\n", before=None)
    assert file.read_text() == "a: 2\n"
    assert list(tmp_path.iterdir()) == [file]


def test_of_many_writers_one_wins(tmp_path):
    """Twenty who write at once on the same base: one is written, nineteen are told, and the file is whole."""
    file = tmp_path / "prodkit.yaml"
    file.write_text("a: 0\n")
    file.chmod(0o640)
    refused = []

    def write(number):
        try:
            write_text(file, f"a: {number}\n" * 500, before="a: 0\n")
        except ConfigError as error:
            refused.append(error.code)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(1, 21)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert refused == ["manifest.changed"] * 19
    assert len(set(file.read_text().splitlines())) == 1
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    """A path that can't be written is one clear error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"manifest\.un(readable|writable)"):
        write_text(tmp_path / "file" / "prodkit.yaml", "a: 1\n", before=None)
