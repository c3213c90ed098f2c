import pytest

from tru.cli.options import print_json, print_json_list


@pytest.mark.parametrize("values", [[], [1], [{"a": 1, "b": [1, "x\ny"]}, {}, None, "é"], [[], [[]]]])
def test_a_list_written_piece_by_piece_is_the_same_to_the_letter(values, capsys):
    print_json(values)
    whole = capsys.readouterr().out
    print_json_list(iter(values))
    assert capsys.readouterr().out == whole
