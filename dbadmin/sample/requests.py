"""What is asked of the platform, read from workload.sql, and the drawing of who asks for what."""

import random
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg

from dbadmin.sample.stages import text_of

HEADER = re.compile(r"^-- request: (\w+) (\d+)( as user)?: (.+)$", re.MULTILINE)
CLICKS = (
    "page_viewed",
    "course_viewed",
    "lesson_opened",
    "video_played",
    "video_paused",
    "quiz_started",
    "checkout_started",
)


@dataclass(frozen=True)
class Request:
    """Some statements for one purpose; as_user: in one transaction that says who is signed in."""

    actor: str
    weight: int
    name: str
    as_user: bool
    statements: tuple[str, ...]


def requests() -> list[Request]:
    parts = HEADER.split(text_of("workload"))[1:]
    return [
        Request(
            actor,
            int(weight),
            name,
            bool(as_user),
            tuple(s.strip() for s in re.split(r";\n", text) if s.strip()),
        )
        for actor, weight, as_user, name, text in zip(*[iter(parts)] * 5, strict=True)
    ]


@dataclass
class Population:
    """Who and what exists, most popular first, as the server last told; with stand-ins where it could not."""

    users: int = 1000
    emails: list[str] = field(default_factory=lambda: ["nobody@example.org"])
    courses: list[tuple[int, str]] = field(default_factory=lambda: [(1, "none-1")])
    lessons: int = 100
    quizzes: int = 10
    categories: int = 30
    teachers: int = 10
    sessions: list[str] = field(default_factory=lambda: [str(uuid.UUID(int=0))])
    certificates: list[str] = field(default_factory=lambda: ["0"])
    now: str = ""  # the visit that is going on

    def draw(self) -> dict[str, object]:
        """One person's wishes: all names that a statement may use."""
        chance = random.random
        course, slug = self.courses[int(len(self.courses) * chance() ** 2.5)]
        if not self.now or chance() < 0.15:
            self.now = str(uuid.uuid4())
        return {
            "user": 1 + int(self.users * (1 - chance() ** 1.5) * 0.9999),
            "course": course,
            "slug": slug,
            "category": 1 + int(self.categories * chance()),
            "lesson": 1 + int(self.lessons * chance() ** 2),
            "quiz": 1 + int(self.quizzes * chance()),
            "teacher": 1 + int(self.teachers * chance()),
            "position": random.randint(1, 10),
            "email": random.choice(self.emails),
            "session": self.now,
            "known_session": random.choice(self.sessions),
            "certificate": random.choice(self.certificates),
            "clicks": random.choices(CLICKS, k=random.randint(2, 6)),
            "words": random.choice(
                ("python", "databases", "learn german", "practical statistics", "music", "advanced design")
            ),
            "tag": random.choice(("python", "statistics", "project", "weekend", "beginner", "spanish")),
            "name": random.choice(("anna", "chen", "garc", "kowal", "nora", "singh", "weber")),
            "sentence": random.choice(
                (
                    "Well explained.",
                    "Ask in the live session.",
                    "Good pace, fair quizzes.",
                    "Again before the exam.",
                )
            ),
            "source": random.choice(("search", "recommendation", "newsletter", "friend")),
            "method": random.choice(("card", "paypal", "transfer")),
            "coupon": random.choice(("spring1", "friends4", "welcome6", "none")),
            "theme": random.choice(("light", "dark", "system")),
            "score": round(100 * (1 - chance() ** 1.6 * 0.8), 2),
            "stars": random.choice((3, 4, 4, 5, 5)),
            "address": f"203.0.113.{random.randint(1, 250)}",
        }


def population(connection: psycopg.Connection) -> Population:
    """Ask the server; what it cannot tell (a dropped table, a missing right) keeps its stand-in."""
    found = Population()

    def ask(query: str, take: Callable[[list[tuple[object, ...]]], None]) -> None:
        try:
            rows = connection.execute(query).fetchall()
        except psycopg.ProgrammingError:
            return
        if rows and rows[0][0] is not None:
            take(rows)

    def number(name: str) -> Callable[[list[tuple[object, ...]]], None]:
        return lambda rows: setattr(found, name, rows[0][0])

    def texts(name: str) -> Callable[[list[tuple[object, ...]]], None]:
        return lambda rows: setattr(found, name, [str(row[0]) for row in rows])

    ask("select max(id) from users", number("users"))
    ask("select max(id) from lessons", number("lessons"))
    ask("select max(id) from quizzes", number("quizzes"))
    ask("select max(id) from categories", number("categories"))
    ask("select max(teacher_id) from courses", number("teachers"))
    ask("select email::text from users order by id desc limit 300", texts("emails"))
    ask(
        "select session_id::text from analytics_events order by occurred_at desc limit 300", texts("sessions")
    )
    ask(
        "select certificate_code from enrollments where certificate_code is not null limit 300",
        texts("certificates"),
    )
    ask(
        "select id, slug from courses order by enrolled_count desc",
        lambda rows: setattr(found, "courses", rows),
    )
    return found
