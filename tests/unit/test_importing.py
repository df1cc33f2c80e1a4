"""Imports during which Python's collector rests."""

from __future__ import annotations

import gc

import pytest

from unclip.importing import uncollected


def test_the_collector_rests_inside_and_leaves_alone_what_was_made_there() -> None:
    gc.unfreeze()
    try:
        with uncollected():
            assert not gc.isenabled()
            made = [[number] for number in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() > len(made)
    finally:
        gc.unfreeze()


def test_it_works_again_after_an_import_that_failed_and_stays_off_where_it_was() -> None:
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()

    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
