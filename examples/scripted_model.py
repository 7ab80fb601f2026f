"""A stand-in for a language model: rules instead of weights, so that the examples run offline.

It reads the conversation and nothing else. It keeps no state, so the same conversation gets
the same answer in any order, thread or task. Like a real model it is not always obedient: a
question inside a resume leads it astray, and it translates names that it should leave alone.

The prompts of the examples have sections under ``### TITLE``; the titles tell the model what
is wanted. A conversation without sections is a chat.
"""

import json
import re
import time
from collections.abc import Callable

Message = dict[str, str]
Sections = dict[str, str]

SECONDS_PER_WORD = 0.002

NOTHING = "Nothing found about"
"""How a note begins that a fruitless search has left."""

PHRASEBOOK = {
    "French": {
        "PocketFlow is a framework of one hundred lines.": (
            "PocketFlow est un framework de cent lignes."
        ),
        "A flow is a graph of small steps.": "Un flux est un graphe de petites étapes.",
        "All steps share one store.": "Toutes les étapes partagent un espace commun.",
    },
    "German": {
        "PocketFlow is a framework of one hundred lines.": (
            "PocketFlow ist ein Framework aus hundert Zeilen."
        ),
        "A flow is a graph of small steps.": "Ein Flow ist ein Graph aus kleinen Schritten.",
        "All steps share one store.": "Alle Schritte teilen sich einen Speicher.",
    },
    "Italian": {
        "PocketFlow is a framework of one hundred lines.": (
            "PocketFlow è un framework di cento righe."
        ),
        "A flow is a graph of small steps.": "Un flusso è un grafo di piccoli passi.",
        "All steps share one store.": "Tutti i passi condividono un archivio.",
    },
    "Spanish": {
        "PocketFlow is a framework of one hundred lines.": (
            "PocketFlow es un framework de cien líneas."
        ),
        "A flow is a graph of small steps.": "Un flujo es un grafo de pasos pequeños.",
        "All steps share one store.": "Todos los pasos comparten un almacén.",
    },
}
"""Language -> English sentence -> its translation."""

OVERZEALOUS = {"French": "FluxDePoche", "German": "TaschenFluss"}
"""Languages in which the model translates the name PocketFlow unless it is told not to."""


def answer(messages: list[Message]) -> str:
    """Return what the model says next, after about the time a quick model takes."""
    prompt = _sections(messages[-1]["content"])
    skill = next((skill for title, skill in _SKILLS.items() if title in prompt), None)
    text = skill(prompt) if skill else _chat(messages)
    time.sleep(SECONDS_PER_WORD * len(text.split()))
    return text


def _sections(prompt: str) -> Sections:
    """Split a prompt at its titles; what stands before the first one has the title ``""``."""
    parts = re.split(r"^### (.+)$", prompt, flags=re.MULTILINE)
    titles, texts = ["", *parts[1::2]], parts[0::2]
    return {title: text.strip() for title, text in zip(titles, texts, strict=True)}


# --- Deciding and answering from notes --------------------------------------------------------


def _decide(prompt: Sections) -> str:
    missing = [name for name in _names(prompt["QUESTION"]) if name not in prompt["NOTES"]]
    if missing:
        reason = f"The notes say nothing about {missing[0]} yet."
        return json.dumps({"action": "search", "reason": reason, "query": missing[0]})
    reason = "The notes cover everything in the question."
    return json.dumps({"action": "answer", "reason": reason})


def _answer_from_notes(prompt: Sections) -> str:
    question, notes = prompt["QUESTION"], prompt["NOTES"]
    sizes = _sizes(_names(question), notes)
    found = _compare(sizes) if len(sizes) > 1 else _best_sentence(question, notes)
    unknown = [name for name in _names(question) if f"{NOTHING} {name}" in notes]
    return " ".join([found, *(f"I found nothing about {name}." for name in unknown)])


def _names(question: str) -> list[str]:
    """Return the runs of capitalised words, such as ``Ben Nevis``."""
    without_question_word = re.sub(r"^\W*\w+\b", "", question)
    return re.findall(r"[A-Z]\w+(?: [A-Z]\w+)*", without_question_word)


def _sizes(names: list[str], notes: str) -> list[tuple[int, str, str]]:
    """Return (number, unit, name) for each name with a size in the notes, largest first."""
    sizes: list[tuple[int, str, str]] = []
    for name in names:
        match = re.search(rf"{re.escape(name)} [^.\n]*?(\d[\d,]*) (m|km)\b", notes)
        if match:
            sizes.append((int(match[1].replace(",", "")), match[2], name))
    return sorted(sizes, reverse=True)


def _compare(sizes: list[tuple[int, str, str]]) -> str:
    (most, unit, winner), (next_most, _, runner_up) = sizes[:2]
    superlative = "highest" if unit == "m" else "longest"
    return (
        f"{winner} is the {superlative}, with {most:,} {unit}: "
        f"{most - next_most:,} {unit} more than {runner_up}."
    )


def _best_sentence(question: str, notes: str) -> str:
    """Return the sentence that has most words in common with the question."""
    sentences = [text for text in re.findall(r"[^.\n]+\.", notes) if NOTHING not in text]
    wanted = _stems(question)
    best = max(sentences, key=lambda sentence: len(wanted & _stems(sentence)), default="")
    return best.strip(" -") if wanted & _stems(best) else "The notes do not say."


def _stems(text: str) -> set[str]:
    """Return the words of four letters and more, cut so that ``returned`` meets ``returns``."""
    return {word[:5] for word in re.findall(r"\w{4,}", text.lower())}


# --- Reading resumes --------------------------------------------------------------------------


def _evaluate(prompt: Sections) -> str:
    resume = prompt["RESUME"]
    if "?" in resume and "JSON object only" not in prompt[""]:
        return "What a lovely question! Our office does have a piano, in the room on the left."
    years, wanted_years = _years(resume), _years(prompt["ROLE"])
    skills = re.search(r"skills: (.+)", prompt["ROLE"])
    wanted = skills[1].split(", ") if skills else []
    missing = [skill for skill in wanted if skill not in resume]
    missing += [f"{wanted_years} years"] if years < wanted_years else []
    reason = f"lacks {', '.join(missing)}" if missing else "has all that is asked for"
    return json.dumps({"years": years, "qualifies": not missing, "reason": reason})


def _years(text: str) -> int:
    match = re.search(r"(\d+) years", text)
    return int(match[1]) if match else 0


def _recommend(prompt: Sections) -> str:
    evaluations = [json.loads(line) for line in prompt["EVALUATIONS"].splitlines()]
    fit = sorted((e for e in evaluations if e["qualifies"]), key=lambda e: -e["years"])
    if not fit:
        return "Nobody meets the requirements: keep the position open."
    first, *others = (f"{e['name']} ({e['years']} years)" for e in fit)
    return f"Invite {first} first" + (f", then {', '.join(others)}." if others else ".")


# --- Translating ------------------------------------------------------------------------------


def _translate(prompt: Sections) -> str:
    text, language = prompt["TEXT"], prompt["LANGUAGE"]
    translated = PHRASEBOOK.get(language, {}).get(text, f"[{language}] {text}")
    if "PocketFlow" in prompt.get("KEEP UNCHANGED", ""):
        return translated
    return translated.replace("PocketFlow", OVERZEALOUS.get(language, "PocketFlow"))


# --- Writing e-mails --------------------------------------------------------------------------


def _write_email(prompt: Sections) -> str:
    order = json.loads(prompt["ORDER"])
    start = f"Dear {order['customer']}, thank you for ordering {order['items']}."
    if order["status"] == "declined":
        return f"{start} Sadly your bank said no, so nothing was charged and nothing was sent."
    delivery = order["delivery"]
    return (
        f"{start} We charged {order['total']:.2f} euros. Your parcel comes by "
        f"{delivery['carrier']} in about {delivery['days']} days."
    )


# --- Chatting ---------------------------------------------------------------------------------


def _chat(messages: list[Message]) -> str:
    turns = [message["content"] for message in messages if message["role"] == "user"]
    for reply in (_about_the_chat, _about_the_name, _calculate, _greet):
        text = reply(turns)
        if text:
            return text
    return "I am only a few rules. Tell me your name, or ask me what 6 times 7 is."


def _about_the_chat(turns: list[str]) -> str:
    if not re.search(r"talk(ed)? about|said so far", turns[-1], re.IGNORECASE):
        return ""
    earlier = "; ".join(f'"{turn}"' for turn in turns[:-1])
    return f"So far you said: {earlier}." if earlier else "We have only just begun."


def _about_the_name(turns: list[str]) -> str:
    introductions = re.findall(r"my name is (\w+)", "\n".join(turns), re.IGNORECASE)
    if re.search(r"my name is \w+", turns[-1], re.IGNORECASE):
        return f"Nice to meet you, {introductions[-1]}."
    if re.search(r"is my name|who am I", turns[-1], re.IGNORECASE):
        return f"You are {introductions[-1]}." if introductions else "You have not told me yet."
    return ""


def _calculate(turns: list[str]) -> str:
    match = re.search(r"(\d+) (plus|minus|times) (\d+)", turns[-1])
    if not match:
        return ""
    left, right = int(match[1]), int(match[3])
    result = {"plus": left + right, "minus": left - right, "times": left * right}[match[2]]
    return f"{match[0]} is {result}."


def _greet(turns: list[str]) -> str:
    greeted = re.match(r"(hello|hi|hey|good \w+)\b", turns[-1], re.IGNORECASE)
    return "Hello! What can I do for you?" if greeted else ""


_SKILLS: dict[str, Callable[[Sections], str]] = {
    "ACTIONS": _decide,
    "NOTES": _answer_from_notes,
    "RESUME": _evaluate,
    "EVALUATIONS": _recommend,
    "TEXT": _translate,
    "ORDER": _write_email,
}
"""Section title -> what it asks for; the first title that a prompt has counts."""
