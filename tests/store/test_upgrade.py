from triage_node.store.upgrade import differences, is_current, upgrade


def test_empty_database_to_head_equals_the_schema(empty_store):
    assert not is_current(empty_store)
    old, new = upgrade(empty_store)
    assert old is None
    assert new == "0001"
    assert differences(empty_store) == []


def test_second_upgrade_changes_nothing(store):
    assert upgrade(store) == ("0001", "0001")
    assert is_current(store)
