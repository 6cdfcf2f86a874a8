#!/usr/bin/env python3
# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
"""Checks rules that no compiler checks. Prints `file:line: rule: what and what to do`; exit code 1 if there is any.

C1      no co_await inside the condition of if, while, switch, or in an operand of ?: (g++ 12 hangs or frees twice)
C2      no braces that build an object inside a full expression with co_await (g++ 12 frees the object twice)
C3      no lambda that captures by value inside a full expression with co_await (g++ 12 frees the captures twice)
layer   a header includes only headers of its own layer or a lower one; see LAYERS
driver  a driver is included by its adapter only; no header that includes a whole Boost library
direct  clocks, timers, threads and random sources are reached through environment.hpp only
impl    a header includes its impl/*.ipp unless COSAGA_SEPARATE_COMPILATION is defined; impl/src.hpp or webhook_src.hpp includes it
text    copyright line, #pragma once, no tabs, no spaces at the end of a line
readme  the README opens with examples/hello.cpp as it is compiled, which has at most 40 lines

A line that is right all the same says so, in itself or on the line before: `// lint: allow C2 - why`.
A header of more than 450 lines is reported, but is no error.

Usage: lint.py [--self-test | DIRECTORY]
"""
import pathlib
import re
import sys
import typing

LONG_HEADER = 450
COPYRIGHT = "Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0."

# Layer of each header of include/cosaga, without .hpp; a folder stands for all in it.
# Any other is a pattern, and what is in detail/ or impl/ is as high as the highest of what it includes.
GROUND, MESSAGE, PORT, PATTERN, OPERATION, ALL = range(6)
LAYERS = {
    "error": GROUND, "schedule": GROUND, "environment": GROUND,
    "message": MESSAGE, "message_id": MESSAGE, "codec": MESSAGE,
    "storage": PORT, "ledger": PORT, "transport": PORT,
    "node": OPERATION, "metrics": OPERATION, "testing": OPERATION,
    "cosaga": ALL, "src": ALL,
}

SOURCE = "cosaga/impl/src.hpp"
WEBHOOK_SOURCE = "cosaga/impl/webhook_src.hpp"  # apart, since not every program has OpenSSL

# A header of the library that includes one of these must have the word in its path.
DRIVERS = {"sqlite3.h": "sqlite", "zmq.hpp": "zeromq", "zmq.h": "zeromq", "boost/json": "json",
           "openssl": "webhook", "boost/beast": "webhook", "boost/asio/ssl": "webhook"}
WHOLE_LIBRARIES = {"boost/asio.hpp", "boost/asio/ssl.hpp", "boost/beast.hpp", "boost/json.hpp", "boost/describe.hpp", "boost/mp11.hpp", "boost/system.hpp"}

DIRECT = [
    (r"\b(?:steady|system|high_resolution|basic_waitable|waitable|deadline)_timer\b", "a timer"),
    (r"\b(?:system|steady|high_resolution|utc|file|tai|gps)_clock\s*::\s*now\b", "a clock"),
    (r"\b(?:gettimeofday|clock_gettime|timespec_get|std\s*::\s*time)\s*\(", "a clock"),
    (r"\bstd\s*::\s*(?:jthread|async|thread(?!\s*::\s*id))\b|\bthread_pool\b|\bpthread_create\b", "a thread"),
    (r"\brandom_device\b|\bstd\s*::\s*rand\b|\b(?:getrandom|getentropy|arc4random)\s*\(", "a random source"),
    (r"\bthis_thread\s*::\s*sleep_\w+|\b(?:usleep|nanosleep)\s*\(", "a sleep"),
]

# Braces after these build nothing that g++ 12 could destroy twice: not an aggregate, or trivially destructible.
HARMLESS_BRACES = re.compile(
    r"^(?:std::)?(?:string|string_view|optional|u?int\d+_t|size_t|exception_ptr|monostate)$"
    r"|^(?:.*::)?(?:duration|time_point|steady_time|(?:micro|milli|nano)?seconds|minutes|hours|days|message_id)$"
    r"|^(?:int|unsigned|long|bool|char|double|float|auto)$")


class Finding(typing.NamedTuple):
    line: int
    rule: str
    text: str


# --- tokens -----------------------------------------------------------------------------------------------------------

NOT_CODE = re.compile(
    r"//[^\n]*|/\*.*?\*/"
    r'|R"(?P<delimiter>[^()\\\s]{0,16})\(.*?\)(?P=delimiter)"'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])+'",
    re.DOTALL)
TOKEN = re.compile(r"[A-Za-z_]\w*|\d[\w'.]*|->|::|\S")
PAIRS = {"(": ")", "[": "]", "{": "}"}


def blank(match):
    kept = re.sub(r"[^\n]", " ", match.group())
    return '""' + kept[2:] if '"' in match.group()[:2] else kept


def code_of(text):
    """The text with comments, literals and preprocessor lines blanked; lines stay where they are."""
    text = NOT_CODE.sub(blank, text)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.M)


class Tokens:
    """Tokens of a source, with matched brackets and what each opening brace begins: a block, a lambda's body or an object."""

    def __init__(self, text):
        code = code_of(text)
        self.text, self.line, line, end = [], [], 1, 0
        for match in TOKEN.finditer(code):
            line += code.count("\n", end, match.start())
            end = match.start()
            self.text.append(match.group())
            self.line.append(line)
        self.match = {}
        open_ = []
        for i, t in enumerate(self.text):
            if t in PAIRS:
                open_.append(i)
            elif t in PAIRS.values():
                while open_ and PAIRS[self.text[open_[-1]]] != t:
                    open_.pop()
                if open_:
                    self.match[i] = open_.pop()
                    self.match[self.match[i]] = i
        self.kind = {i: self._kind(i) for i, t in enumerate(self.text) if t == "{"}

    def at(self, i):
        return self.text[i] if 0 <= i < len(self.text) else ""

    def is_lambda(self, i):
        """True if the `[` at i begins a lambda."""
        if self.at(i) != "[" or self.at(i + 1) == "[" or self.at(i - 1) == "[":
            return False
        before = self.at(i - 1)
        return not (re.match(r"[\w\)\]>\"]", before) and before not in ("return", "co_return", "co_await", "co_yield"))

    def _before_trailing_return(self, i):
        """The index of the last token before `-> type {`, or i - 1."""
        j = i - 1
        while j >= 0 and self.text[j] not in ("(", "{", "}", ";", ",", "="):
            if self.text[j] == "->":
                if self.at(j - 1) in (")", "mutable", "noexcept", "]", "const"):
                    return j - 1
                return i - 1
            j = self.match.get(j, j) - 1 if self.text[j] in (")", "]") else j - 1
        return i - 1

    def _kind(self, i):
        j = self._before_trailing_return(i)
        while self.at(j) in ("mutable", "noexcept", "const", "override", "final", "constexpr", "&", "&&"):
            j -= 1
        before = self.at(j)
        if before == ")" and j in self.match:
            opening = self.match[j]
            owner = self.at(opening - 1)
            if owner == "noexcept":
                return "block"
            if owner == "]" and self.is_lambda(self.match.get(opening - 1, -1)):
                return "lambda"
            if owner == ">" and self._template_lambda(opening - 1):
                return "lambda"
            return "block"
        if before == "]" and self.is_lambda(self.match.get(j, -1)):
            return "lambda"
        if before in ("else", "do", "try", ";", "{", "}", ":", ""):
            return "block"
        if re.match(r"[A-Za-z_]|>", before) and before not in ("return", "co_return", "co_await", "co_yield"):
            k = j
            while k >= 0 and self.text[k] not in (";", "{", "}"):
                if self.text[k] in ("namespace", "struct", "class", "union", "enum", "concept", "requires", "extern"):
                    return "block"
                k = self.match.get(k, k) - 1 if self.text[k] in (")", "]") else k - 1
        return "object"

    def _template_lambda(self, i):
        depth = 0
        while i >= 0:
            depth += (self.text[i] == ">") - (self.text[i] == "<")
            if depth == 0:
                return self.at(i - 1) == "]" and self.is_lambda(self.match.get(i - 1, -1))
            i -= 1
        return False

    def full_expression(self, i):
        """First and last token of the full expression or declaration around token i."""
        first = i
        while first > 0:
            t = self.text[first - 1]
            if t == ";" or (t == "{" and self.kind[first - 1] != "object"):
                break
            if t == "(" and self.at(first - 2) in ("if", "while", "for", "switch", "catch", "constexpr"):
                break
            if t in (")", "]", "}"):
                opening = self.match.get(first - 1)
                if opening is None or (t == "}" and self.kind[opening] == "block"):
                    break
                if t == ")" and self.at(opening - 1) in ("if", "while", "for", "switch", "constexpr"):
                    break
                first = opening
            else:
                first -= 1
        last = i
        while last + 1 < len(self.text):
            t = self.text[last + 1]
            if t == ";" or (t == "{" and self.kind[last + 1] == "block"):
                break
            if t in (")", "]", "}") and self.match.get(last + 1, -1) < first:
                break
            last = self.match.get(last + 1, last + 1) if t in PAIRS else last + 1
        return first, last

    def without_lambda_bodies(self, first, last):
        i = first
        while i <= last:
            yield i
            i = self.match.get(i, i) if self.text[i] == "{" and self.kind[i] == "lambda" else i + 1


# --- rules about coroutines -------------------------------------------------------------------------------------------

def conditions(tokens):
    for i, t in enumerate(tokens.text):
        if t not in ("if", "while", "switch") or tokens.at(i + 1) != "(" or i + 1 not in tokens.match:
            continue
        inside = range(i + 2, tokens.match[i + 1])
        awaits = [k for k in inside if tokens.text[k] == "co_await"]
        # `if (auto x = co_await f())` is measured to be safe.
        declares = tokens.at(i + 2) == "auto" and ";" not in tokens.text[i + 2:tokens.match[i + 1]] \
            and "=" in tokens.text[i + 2:awaits[0]] if awaits else False
        if awaits and not declares:
            yield Finding(tokens.line[awaits[0]], "C1", f"co_await in the condition of `{t}`: name the result first")


def ternaries(tokens):
    ends = {";", ",", "=", "return", "co_return"}
    for i, t in enumerate(tokens.text):
        if t != "?":
            continue
        first = i
        while first > 0 and tokens.text[first - 1] not in ends | set(PAIRS):
            if tokens.text[first - 1] == "}" and tokens.kind.get(tokens.match.get(first - 1)) == "block":
                break
            first = tokens.match.get(first - 1, first - 1) if tokens.text[first - 1] in PAIRS.values() else first - 1
        last = i
        while last + 1 < len(tokens.text) and tokens.text[last + 1] not in {";", ","} | set(PAIRS.values()):
            last = tokens.match.get(last + 1, last + 1) if tokens.text[last + 1] in PAIRS else last + 1
        if any(tokens.text[k] == "co_await" for k in tokens.without_lambda_bodies(first, last)):
            yield Finding(tokens.line[i], "C1", "co_await in an operand of ?: - write if and else")


def object_type(tokens, brace):
    """The type named before the brace, `std::string`; empty when there is none."""
    parts = []
    i = brace - 1
    while i >= 0 and re.match(r"\w+$|::$", tokens.text[i]):
        if parts and parts[-1] != "::" and tokens.text[i] != "::":
            parts.append(" ")
        parts.append(tokens.text[i])
        i -= 1
    return "".join(reversed(parts)).strip()


def captures_by_value(tokens, opening):
    closing = tokens.match.get(opening, opening)
    item, depth = [], 0
    for i in range(opening + 1, closing + 1):
        t = tokens.text[i]
        depth += (t in PAIRS) - (t in PAIRS.values() and i != closing)
        if (t == "," and depth == 0) or i == closing:
            if item and item[0] != "&" and item != ["this"]:
                return " ".join(item)
            item = []
        else:
            item.append(t)
    return None


def awaited_expressions(tokens):
    seen = set()
    for i, t in enumerate(tokens.text):
        if t != "co_await":
            continue
        first, last = tokens.full_expression(i)
        for k in tokens.without_lambda_bodies(first, last):
            if k in seen:
                continue
            if tokens.text[k] == "{" and tokens.kind[k] == "object":
                seen.add(k)
                name = object_type(tokens, k)
                words = name.split(" ")
                # `type name{...}` declares; there the type is the word before.
                if HARMLESS_BRACES.match(words[-2] if len(words) > 1 and words[-2] != "co_await" else words[-1]):
                    continue
                yield Finding(tokens.line[k], "C2", f"`{name}{{` within an expression that awaits: name the object first")
            elif tokens.is_lambda(k):
                seen.add(k)
                captured = captures_by_value(tokens, k)
                if captured:
                    yield Finding(tokens.line[k], "C3",
                                  f"lambda that captures `{captured}` by value within an expression that awaits: "
                                  "capture by reference, or name the lambda first")


# --- rules about headers ----------------------------------------------------------------------------------------------

def includes_of(text):
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
        if match:
            yield number, match.group(1)


def group_of(header):
    """`storage`, `transport`, or nothing, for the path of a header below include/."""
    parts = pathlib.PurePosixPath(header).with_suffix("").parts[1:]
    words = [p for p in parts if p not in ("detail", "impl")]
    for group in ("storage", "transport"):
        if words and words[0].startswith(group):
            return group
    return None


class Headers:
    """All headers of the library, by their path below include/."""

    def __init__(self, sources):
        self.sources = sources

    def layer(self, header, seen=()):
        path = pathlib.PurePosixPath(header).with_suffix("")
        parts = path.parts if path.parts[0] != "cosaga" or len(path.parts) == 1 else path.parts[1:]
        if header in (SOURCE, WEBHOOK_SOURCE):
            return LAYERS["src"]
        if parts[0] not in ("detail", "impl"):
            return LAYERS.get(parts[0], PATTERN)
        if header in seen or header not in self.sources:
            return GROUND
        return max((self.layer(i, (*seen, header)) for _, i in includes_of(self.sources[header]) if i.startswith("cosaga")),
                   default=GROUND)

    def reached(self, header):
        """The header and every header of the library that it includes, also through others."""
        open_, seen = [header], []
        while open_:
            next_ = open_.pop()
            if next_ in self.sources and next_ not in seen:
                seen.append(next_)
                open_ += [i for _, i in includes_of(self.sources[next_]) if i.startswith("cosaga")]
        return seen

    def check(self, header):
        own = self.layer(header)
        yield from self._impl(header)
        for line, included in includes_of(self.sources[header]):
            for driver, word in DRIVERS.items():
                if included == driver or included.startswith((driver + "/", driver + ".")):
                    if word not in header:
                        yield Finding(line, "driver", f"<{included}> outside the {word} adapter")
            if included in WHOLE_LIBRARIES:
                yield Finding(line, "driver", f"<{included}> is a whole library: include the headers that are used")
            if not included.startswith("cosaga"):
                continue
            if included not in self.sources:
                yield Finding(line, "layer", f"<{included}> does not exist")
            elif self.layer(included) > own:
                yield Finding(line, "layer", f"<{included}> is of a higher layer; if it is not, add it to LAYERS in tests/lint.py")
            elif self._foreign_adapter(header, own, included):
                yield Finding(line, "layer", self._foreign_adapter(header, own, included))

    def _impl(self, header):
        if header == SOURCE:
            reached = self.reached(SOURCE) + self.reached(WEBHOOK_SOURCE)
            for missing in sorted(s for s in self.sources if s.endswith(".ipp") and s not in reached):
                yield Finding(1, "impl", f"<{missing}> is not included, so nobody compiles it when compilation is separate")
        elif header.endswith(".hpp") and header != WEBHOOK_SOURCE:
            lines = self.sources[header].splitlines()
            for line, included in includes_of(self.sources[header]):
                if included.endswith(".ipp") and lines[line - 2] != "#ifndef COSAGA_SEPARATE_COMPILATION":
                    yield Finding(line, "impl", f"<{included}> must stand alone below #ifndef COSAGA_SEPARATE_COMPILATION")

    def _foreign_adapter(self, header, own, included):
        for other in self.reached(included):
            if own == PORT and group_of(header) and group_of(other) and group_of(header) != group_of(other):
                return f"<{included}> leads a {group_of(header)} header to <{other}>: the two ports do not know each other"
            parts = pathlib.PurePosixPath(other).parts
            if own == PATTERN and group_of(other) and len(parts) > 2 and parts[1] != "detail" and parts[2] != "detail":
                return f"<{included}> leads a pattern to the adapter <{other}>: it may know the concept only"
        return None


def direct_use(text):
    for number, line in enumerate(code_of(text).splitlines(), 1):
        for pattern, what in DIRECT:
            if re.search(pattern, line):
                yield Finding(number, "direct", f"{what} that is not reached through environment")


# --- rules about text -------------------------------------------------------------------------------------------------

def text_rules(name, text):
    lines = text.split("\n")
    if not name.endswith((".json", ".jsonl", ".md", "LICENSE")) and not any(COPYRIGHT in l for l in lines[:2]):
        yield Finding(1, "text", f"the copyright line is missing: {COPYRIGHT}")
    if name.endswith((".hpp", ".ipp")) and "#pragma once" not in lines[:3]:
        yield Finding(1, "text", "`#pragma once` is missing below the copyright line")
    for number, line in enumerate(lines, 1):
        if "\t" in line:
            yield Finding(number, "text", "a tab")
        if line != line.rstrip():
            yield Finding(number, "text", "a space at the end of the line")


def allowed(finding, lines):
    near = lines[max(0, finding.line - 2):finding.line]
    return any(re.search(rf"lint: allow {finding.rule}\b", line) for line in near)


def readme_differs(readme, example):
    """True unless the first C++ block of the README is the example without its copyright line."""
    block = re.search(r"```cpp\n(.*?)```", readme, re.DOTALL)
    code = example.split("\n", 1)[1].strip("\n")
    return not block or block.group(1).strip("\n") != code or example.count("\n") > 40


def findings(sources):
    """Findings of all sources: a dictionary from the path below the project to the text."""
    below = "include/"
    headers = Headers({n[len(below):]: t for n, t in sources.items() if n.startswith(below)})
    for name, text in sorted(sources.items()):
        found = list(text_rules(name, text))
        if name.endswith((".hpp", ".ipp", ".cpp")):
            tokens = Tokens(text)
            found += [*conditions(tokens), *ternaries(tokens), *awaited_expressions(tokens)]
        if name.startswith(below):
            found += headers.check(name[len(below):])
            if name != "include/cosaga/impl/environment.ipp":
                found += direct_use(text)
        lines = text.splitlines()
        for finding in sorted(found, key=lambda f: f.line):
            if not allowed(finding, lines):
                yield name, finding


def read_project(root):
    kinds = {".hpp", ".ipp", ".cpp", ".txt", ".cmake", ".in", ".py", ".sh", ".json", ".jsonl", ".supp"}
    paths = [p for d in ("include", "tests", "bench", "examples", "cmake") for p in (root / d).rglob("*")]
    paths += [root / "CMakeLists.txt", root / "CMakePresets.json", root / ".ci" / "run"]
    sources = {}
    for path in paths:
        if path.is_file() and (path.suffix in kinds or path.name == "run"):
            sources[path.relative_to(root).as_posix()] = path.read_text(encoding="utf-8")
    return sources


# --- self-test --------------------------------------------------------------------------------------------------------

# Each sample stands in a coroutine; the rule must be found, or nothing where there is none.
STATEMENTS = [
    ("C1", "if (co_await ready()) go();"),
    ("C1", "while (!(co_await ready())) {}"),
    ("C1", "do { go(); } while (co_await ready());"),
    ("C1", "switch (co_await state()) {}"),
    ("C1", "if (int n = 1; co_await ready(n)) go();"),
    ("C1", "auto x = flag ? co_await a() : b;"),
    ("C1", "auto x = co_await flag() ? a : b;"),
    (None, "if (auto x = co_await next()) go(*x);"),
    (None, "for (int i = 0; i < 3; ++i) co_await step(i);"),
    (None, "for (auto& x : co_await all()) { go(x); }"),
    (None, "co_await f(flag ? 1 : 2);"),
    (None, "auto const ready = co_await f(); if (ready) { co_await g(); }"),
    (None, "if (ready) co_await g(\"{ ? }\"); // if (co_await x)"),
    ("C2", "co_await f(order{1, name});"),
    ("C2", "co_await f({.x = 1});"),
    ("C2", "co_await f(encode(order{1}));"),
    ("C2", "v.push_back(order{1, co_await name()});"),
    ("C2", "order o{1, co_await name()};"),
    ("C2", "co_return order{co_await name()};"),
    ("C2", "co_await service{}.run();"),
    ("C2", "co_await g(std::vector{a, b});"),
    ("C2", "co_await store.transact([&](auto& tx) { tx.send(1); }, options{.a = 1});"),
    (None, "order o{1, name}; co_await f(std::move(o));"),
    (None, "co_await f(std::string{text}, duration{5}, std::chrono::milliseconds{3});"),
    (None, "co_await store.transact([&](auto& tx) { tx.send(\"t\", order{1}); return result{2}; });"),
    (None, "co_await store.transact([&](auto& tx) -> std::vector<int> { return {1, 2}; });"),
    (None, "try { co_await f(); } catch (...) { g({1}); }"),
    (None, "auto op = f(order{1}); co_await std::move(op);"),
    (None, "co_await f(order{1}); // lint: allow C2 - trivially destructible"),
    ("C3", "co_await g([s] { go(s); });"),
    ("C3", "co_await g([=] { go(s); });"),
    ("C3", "co_await g([&, p = std::move(p)]() mutable { go(p); });"),
    ("C3", "co_await [c]() -> asio::awaitable<void> { co_return; }();"),
    ("C3", "auto r = co_await g([this, n]<class T>(T& t) { go(t, n); });"),
    (None, "co_await g([&] { go(s); }); co_await h([this, &s, &t = s] { go(s); });"),
    (None, "auto work = [s] { go(s); }; co_await g(work);"),
    (None, "spawn([s]() -> asio::awaitable<void> { co_await go(s); });"),
    (None, "a[0] = co_await f(b[i], c[j]);"),
]

HEADERS = [
    ("layer", "cosaga/message.hpp", "#include <cosaga/outbox.hpp>"),
    ("layer", "cosaga/storage/memory.hpp", "#include <cosaga/transport.hpp>"),
    ("layer", "cosaga/transport/zeromq.hpp", "#include <cosaga/detail/uses_storage.hpp>"),
    ("layer", "cosaga/outbox.hpp", "#include <cosaga/storage/memory.hpp>"),
    ("layer", "cosaga/error.hpp", "#include <cosaga/detail/uses_storage.hpp>"),
    ("layer", "cosaga/outbox.hpp", "#include <cosaga/no_such_header.hpp>"),
    (None, "cosaga/outbox.hpp", "#include <cosaga/storage.hpp>\n#include <cosaga/transport.hpp>"),
    (None, "cosaga/node.hpp", "#include <cosaga/outbox.hpp>\n#include <cosaga/storage/memory.hpp>"),
    (None, "cosaga.hpp", "#include <cosaga/node.hpp>\n#include <cosaga/storage/memory.hpp>"),
    ("driver", "cosaga/outbox.hpp", "#include <sqlite3.h>"),
    ("driver", "cosaga/message.hpp", "#include <boost/json/value.hpp>"),
    ("driver", "cosaga/message.hpp", "#include <boost/asio.hpp>"),
    ("driver", "cosaga/message.hpp", "#include <openssl/hmac.h>"),
    (None, "cosaga/webhook/sink.hpp", "#include <openssl/hmac.h>\n#include <boost/asio/ssl/context.hpp>"),
    (None, "cosaga/codec/json.hpp", "#include <boost/json/value.hpp>"),
    ("direct", "cosaga/outbox.hpp", "asio::steady_timer timer;"),
    ("direct", "cosaga/outbox.hpp", "auto t = std::chrono::steady_clock::now();"),
    ("direct", "cosaga/outbox.hpp", "std::thread t;"),
    ("direct", "cosaga/outbox.hpp", "std::random_device d;"),
    ("direct", "cosaga/outbox.hpp", "std::this_thread::sleep_for(1s);"),
    (None, "cosaga/outbox.hpp", "std::thread::id id; // std::thread, steady_clock::now()"),
    (None, "cosaga/impl/environment.ipp", "auto t = std::chrono::steady_clock::now();"),
    ("impl", "cosaga/environment.hpp", "#include <cosaga/impl/environment.ipp>"),
    ("impl", "cosaga/impl/src.hpp", "#include <cosaga/environment.hpp>"),
    (None, "cosaga/environment.hpp", "#ifndef COSAGA_SEPARATE_COMPILATION\n#include <cosaga/impl/environment.ipp>\n#endif"),
    ("layer", "cosaga/error.hpp", "#ifndef COSAGA_SEPARATE_COMPILATION\n#include <cosaga/impl/outbox.ipp>\n#endif"),
    ("text", "cosaga/outbox.hpp", "int a;\t"),
    ("text", "cosaga/outbox.hpp", "int a; "),
]


def self_test():
    head = f"// {COPYRIGHT}\n#pragma once\n"
    failures = 0

    def expect(rule, label, sources):
        nonlocal failures
        found = sorted({f.rule for _, f in findings(sources)})
        if found != ([rule] if rule else []):
            failures += 1
            print(f"self-test: expected {rule or 'nothing'}, found {found or 'nothing'}: {label}")

    for rule, statement in STATEMENTS:
        source = head + "asio::awaitable<void> sample()\n{\n    int x = 0;\n    " + statement + "\n}\n"
        expect(rule, statement, {"tests/unit/sample.cpp": source})
    others = {
        "cosaga/environment.hpp": "", "cosaga/storage.hpp": "", "cosaga/transport.hpp": "", "cosaga/storage/memory.hpp": "",
        "cosaga/outbox.hpp": "", "cosaga/node.hpp": "", "cosaga/detail/uses_storage.hpp": "#include <cosaga/storage.hpp>\n",
        "cosaga/impl/environment.ipp": "#include <cosaga/environment.hpp>\n",
        "cosaga/impl/outbox.ipp": "#include <cosaga/outbox.hpp>\n",
    }
    for rule, path, body in HEADERS:
        texts = {**others, path: body + "\n"}
        expect(rule, f"{path}: {body}", {"include/" + n: head + t for n, t in texts.items()})
    expect("text", "no copyright", {"tests/unit/sample.cpp": "int a;\n"})
    for readme, differs in (("```cpp\nint a;\n```", False), ("```cpp\nint b;\n```", True), ("no code", True)):
        if readme_differs(readme, "// copyright\nint a;\n") != differs:
            failures += 1
            print(f"self-test: readme_differs is not {differs}: {readme}")
    print(f"self-test: {len(STATEMENTS) + len(HEADERS) + 4} samples, {failures} failed")
    return failures


def main(arguments):
    if arguments == ["--self-test"]:
        return 1 if self_test() else 0
    root = pathlib.Path(arguments[0]) if arguments else pathlib.Path(__file__).resolve().parent.parent
    sources = read_project(root)
    count = 0
    for name, finding in findings(sources):
        count += 1
        print(f"{name}:{finding.line}: {finding.rule}: {finding.text}")
    readme, example = root / "README.md", root / "examples/hello.cpp"
    if readme.exists() and example.exists() and readme_differs(readme.read_text(), example.read_text()):
        count += 1
        print("README.md:1: readme: the first example is not examples/hello.cpp, or has over 40 lines; copy it")
    for name, text in sorted(sources.items()):
        if name.startswith("include/") and text.count("\n") > LONG_HEADER:
            print(f"{name}: note: {text.count(chr(10))} lines; split a header of more than {LONG_HEADER} by idea")
    print(f"lint: {len(sources)} files, {count} findings")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
