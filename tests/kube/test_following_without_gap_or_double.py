"""How a follower of a collection goes on after whatever ends its watch."""

from __future__ import annotations

from kaos_ext.kube.following import FIRST_BACKOFF, LONGEST_BACKOFF, Following
from kaos_ext.kube.objects import Object, ObjectList, WatchEvent, WatchType


def pod(name: str, version: str) -> Object:
    return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": version}}


def types(events: list[WatchEvent]) -> list[tuple[str, str]]:
    return [(event.type.value, event.object["metadata"]["name"]) for event in events]


def test_the_first_list_is_told_as_added_and_the_watch_begins_where_it_ended() -> None:
    following = Following()
    assert types(following.listed(ObjectList([pod("a", "1"), pod("b", "2")], "7"))) == [("ADDED", "a"), ("ADDED", "b")]
    assert following.resource_version == "7"


def test_a_list_after_expiry_tells_only_what_happened_meanwhile() -> None:
    following = Following()
    following.listed(ObjectList([pod("a", "1"), pod("b", "2"), pod("c", "3")], "7"))
    following.expired()
    assert following.resource_version is None
    changes = following.listed(ObjectList([pod("a", "1"), pod("b", "9"), pod("d", "8")], "12"))
    assert types(changes) == [("DELETED", "c"), ("MODIFIED", "b"), ("ADDED", "d")]


def test_an_object_made_anew_under_its_old_name_is_a_deletion_and_an_addition() -> None:
    following = Following()
    following.listed(ObjectList([pod("a", "1")], "1"))
    following.expired()
    again = {"metadata": {"name": "a", "uid": "another", "resourceVersion": "5"}}
    assert types(following.listed(ObjectList([again], "6"))) == [("DELETED", "a"), ("ADDED", "a")]


def test_bookmarks_move_on_without_a_word() -> None:
    following = Following(resource_version="1")
    assert following.received(WatchEvent(WatchType.BOOKMARK, {"metadata": {"resourceVersion": "40"}})) is None
    assert following.resource_version == "40"


def test_a_deletion_that_was_seen_is_not_told_again_by_the_next_list() -> None:
    following = Following()
    following.listed(ObjectList([pod("a", "1")], "1"))
    following.received(WatchEvent(WatchType.DELETED, pod("a", "2")))
    following.expired()
    assert following.listed(ObjectList([], "3")) == []


def test_failures_in_a_row_wait_longer_and_anything_that_comes_through_forgets_them() -> None:
    following = Following(resource_version="1")
    waits = [following.failed() for _ in range(9)]
    assert waits[0] == FIRST_BACKOFF and waits == sorted(waits) and waits[-1] == LONGEST_BACKOFF
    following.received(WatchEvent(WatchType.MODIFIED, pod("a", "2")))
    assert following.failed() == FIRST_BACKOFF
