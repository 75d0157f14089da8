"""Cron expressions in words, compared with their firings."""

import pytest

from orchestrator.report.plan.cron_words import cron_in_words, step_warnings


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("30 2 * * *", "At 02:30 every day"),
        ("0 0 1-31 * MON", "At 00:00 every day"),
        ("0 0 1 * 0-6", "At 00:00 every day"),
        ("0 0 1 * 1-7", "At 00:00 every day"),
        ("0 0 1-31 * *", "At 00:00 every day"),
        ("0 0 * * 0-7", "At 00:00 every day"),
        ("*/90 * * * *", "At the start of every hour"),
        ("*/45 * * * *", "At minutes 0 and 45 of every hour"),
        ("*/15 * * * *", "Every 15th minute of every hour"),
        ("5-10/20 * * * *", "At minute 5 of every hour"),
        ("0 */30 * * *", "At 00:00 every day"),
        ("0 */10 * * *", "At 00:00, 10:00, and 20:00 every day"),
        ("0 0-23 * * *", "At the start of every hour"),
        ("0 0 */15 * *", "At 00:00 on the first, the 16th, and the 31st day of month"),
        ("0 0 */15 * MON", "At 00:00 on the first, the 16th, and the 31st day of month if it's on Monday"),
        ("0 0 */40 * MON", "At 00:00 on the first day of month if it's on Monday"),
        ("0 0 1 * MON", "At 00:00 on the first day of month and on Monday"),
        ("0 0 22 * */4", "At 00:00 on the 22nd day of month if it's on Sunday and Thursday"),
        ("0 0 1 */13 *", "At 00:00 on January 1"),
        ("0 0 L * MON#2", "At 00:00 on the last day of the month and on the second Monday of the month"),
    ],
)
def test_words_say_what_happens(cron: str, words: str) -> None:
    assert cron_in_words(cron) == words


@pytest.mark.parametrize(
    ("cron", "count"),
    [
        ("*/90 * * * *", 1),
        ("*/60 */24 */31 */12 */7", 5),
        ("5-10/20 * * * *", 1),
        ("50/20 * * * *", 1),
        ("*/30 */12 */2 */6 */2", 0),
        ("*/1 5 L * MON#2", 0),
        ("1,*/70 * * * *", 1),
    ],
)
def test_a_cron_step_with_one_value_left_is_a_warning(cron: str, count: int) -> None:
    found = list(step_warnings(cron))
    assert len(found) == count
    assert all("only" in each for each in found)
