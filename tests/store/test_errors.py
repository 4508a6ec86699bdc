"""What a failed statement says is written to logs and pages; what it carried may be a patient's."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from triage_node.domain.errors import StoreError
from triage_node.store.engine import Store


def test_an_error_of_the_store_does_not_repeat_what_the_statement_carried(store: Store) -> None:
    with pytest.raises(StoreError) as told, store.write() as c:
        c.execute(text("SELECT :patient_name FROM no_such_table"), {"patient_name": "DOE^JANE"})
    assert "no_such_table" in str(told.value)
    assert "DOE" not in str(told.value)
