import pytest

from triage_node.association.peers import Places, Sender, is_allowed

RULES = (Sender("CT1", ("10.0.0.5", "10.1.0.0/16")), Sender("*", ("127.0.0.0/8", "fd00::/8")))


@pytest.mark.parametrize(
    ("title", "address", "allowed"),
    [
        ("CT1", "10.0.0.5", True),
        ("CT1", "10.1.255.1", True),
        ("CT1", "10.0.0.6", False),
        ("CT2", "10.0.0.5", False),
        ("ANY", "127.0.0.9", True),
        ("ANY", "::ffff:127.0.0.9", True),
        ("ANY", "fd00::1%eth0", True),
        ("ANY", "fe80::1", False),
        ("CT1 ", "10.0.0.5", False),
        ("CT1", "no address", False),
        ("", "10.0.0.5", False),
    ],
)
def test_rule_binds_title_and_address(title, address, allowed):
    assert is_allowed(RULES, title, address) is allowed


def test_no_rules_let_nobody_in():
    assert not is_allowed((), "CT1", "127.0.0.1")


def test_places_are_counted_in_total_and_by_address():
    places = Places(total=3, per_address=2)
    assert [places.take("a"), places.take("a"), places.take("a")] == [True, True, False]
    assert [places.take("b"), places.take("c")] == [True, False]
    places.leave("a")
    assert places.take("c")
    assert places.taken == 3
