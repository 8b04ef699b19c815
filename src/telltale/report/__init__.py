"""Reports for people and machines: an HTML page, a terminal, JSON lines."""

from telltale.report.drawing import reread
from telltale.report.jsonl import JsonLines, done, read_jsonl
from telltale.report.page import bind_articles, renumbered, write_article, write_html
from telltale.report.terminal import print_report, print_summary

__all__ = [
    "JsonLines",
    "bind_articles",
    "done",
    "print_report",
    "print_summary",
    "read_jsonl",
    "renumbered",
    "reread",
    "write_article",
    "write_html",
]
