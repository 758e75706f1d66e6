"""Taking the journal's lines over fast: a million of them are read when snapshot.json is gone."""

from json.decoder import JSONDecoder
from typing import Any

from autoexp.standings import REQUESTS, Standings

_REMEMBERED = 50_000
"""How many different pieces of lines are kept in memory."""
_decode = JSONDecoder().raw_decode


class Taker:
    """Takes lines over without reading all of each: names, moves and what they set mostly were there before.

    What stands between two of our field names cannot look like one of them: quotes in it are escaped.
    """

    def __init__(self, standings: Standings) -> None:
        self._standings = standings
        self._known: dict[bytes, dict[str, Any]] = {}

    def take(self, line: bytes) -> bool:
        """Take a line over; False if it has to be read whole."""
        try:
            who = line.index(b'","study":')
            move = line.index(b',"attempt":', who)
            evidence = line.index(b',"evidence":', move)
            changes = line.rindex(b',"set":{', evidence)  # evidence may have one of its own, before
            names, moved = self._read(line[who + 2 : move]), self._read(line[move + 1 : evidence])
            changed = self._read(line[changes + 8 : line.rindex(b'},"actions":', changes)])
        except ValueError:
            return False
        if moved["trigger"] in REQUESTS:
            return False
        at = line[line.index(b'"at":"') + 6 : who].decode()
        course = self._standings.of(names["study"])
        course.take(names["job"], moved["attempt"], moved["from"], moved["to"], at=at, changes=changed)
        return True

    def _read(self, fields: bytes) -> dict[str, Any]:
        """Read some of a line's fields. What comes of it is shared, and not to be changed."""
        found = self._known.get(fields)
        if found is None:
            if len(self._known) > _REMEMBERED:
                self._known.clear()
            text = f"{{{fields.decode(errors='surrogatepass')}}}"
            found, end = _decode(text)
            if end != len(text):
                raise ValueError(f"{text!r} are no fields")
            self._known[fields] = found
        return found
