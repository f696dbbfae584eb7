"""What is told, in words: lines of alerts and the state of the machine, in one language, as plain text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from valija.domain.account import SETTING_LABELS, Setting
from valija.domain.alert import (
    LEVEL_LABELS,
    SENTENCES,
    AlertKind,
    Condition,
)
from valija.domain.alert_telling import WORD_LABELS, Telling, TellingLine
from valija.domain.device_hints import refusal
from valija.domain.explanations import Explainer
from valija.domain.printer import REASON_TEXTS
from valija.domain.text import N_, Message, message

Say = Callable[[Message | str, str], str]
_SUBJECTS = {setting.value: label for setting, label in SETTING_LABELS.items()} | {"administrator": N_("administrator")}
_HELD = N_("Somebody holds it.")


@dataclass(frozen=True, slots=True)
class Words:
    """Says it, in a ``language`` and with times of a ``zone``."""

    say: Say
    explainer: Explainer
    language: str
    zone: tzinfo | None

    def text(self, sentence: Message | str) -> str:
        """Return a sentence in the language."""
        return self.say(sentence, self.language)

    def moment(self, at: datetime) -> str:
        """Return a time as people write it."""
        local = at.astimezone(self.zone)
        return local.strftime("%d/%m/%Y %H:%M" if self.language == "es" else "%Y-%m-%d %H:%M")

    def sentence(self, found: Condition) -> str:
        """Return what a condition says."""
        values = {value.name: value.text for value in found.values}
        if "date" in values:
            values["date"] = self.moment(datetime.fromisoformat(values["date"])).split(" ")[0]
        if "reason" in values:
            reason = values.pop("reason")
            meaning = _HELD if reason == "held" else self.explainer.explain(reason).meaning
            values["words"] = f"{self.text(meaning)} {values.get('words', '')}".strip()
        elif found.kind is AlertKind.PRINTER_FAULT:
            known = [self.text(REASON_TEXTS.get(word, word)) for word in values["words"].split(", ")]
            values["words"] = " ".join(known)
        elif found.kind is AlertKind.DEVICE_ERRORS:
            values["words"] = self.text(refusal(values["words"]))
        values["subject"] = self.text(_SUBJECTS[found.subject]) if found.subject in _SUBJECTS else found.subject
        return self.text(message(SENTENCES[found.kind], **values))

    def line(self, line: TellingLine) -> str:
        """Return one line of a telling."""
        level = self.text(LEVEL_LABELS[line.condition.level])
        word = self.text(WORD_LABELS[line.word])
        since = self.text(message(N_("since {time}"), time=self.moment(line.since)))
        return f"{word} · {level} · {since}\n  {self.sentence(line.condition)}"

    def subject(self, machine: str, telling: Telling, lines: tuple[TellingLine, ...]) -> str:
        """Return a mail's subject: of one line what it says, else how many there are."""
        if len(lines) == 1:
            only = lines[0]
            found = f"{self.text(WORD_LABELS[only.word])}: {self.sentence(only.condition)}"
        else:
            found = self.text(message(N_("{count} alerts"), count=len(lines) + telling.more))
        whole = " ".join(f"{machine}: {found}".split())
        return "".join(c for c in whole if c.isprintable())[:150]

    def body(self, telling: Telling, lines: tuple[TellingLine, ...]) -> str:
        """Return a mail's text."""
        found = [self.line(line) for line in lines]
        if telling.more:
            found.append(self.text(message(N_("and {count} more"), count=telling.more)))
        found.append(self.text(N_("This is a message of the machine; nobody reads answers to it.")))
        return "\n\n".join(found) + "\n"


def setting_name(words: Words, setting: Setting) -> str:
    """Return what a setting is called."""
    return words.text(SETTING_LABELS[setting])


def plain(telling: Telling, lines: tuple[TellingLine, ...], words: Words, machine: str) -> dict[str, Any]:
    """Return a telling as programs read it."""
    return {
        "version": 1,
        "machine": machine,
        "kind": telling.kind.value,
        "id": telling.name,
        "at": telling.at.isoformat(),
        "more": telling.more,
        "alerts": [
            {
                "word": line.word.value,
                "kind": line.condition.kind.value,
                "subject": line.condition.subject,
                "level": line.condition.level.value,
                "since": line.since.isoformat(),
                "text": words.sentence(line.condition),
            }
            for line in lines
        ],
    }
