"""``twistd`` of this interpreter, whatever is in the path."""

from twisted.scripts.twistd import run

run()  # type: ignore[no-untyped-call]
