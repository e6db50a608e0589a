"""Values from outside that a form would take for something else: a list for its text, "no" for yes."""

from __future__ import annotations

from typing import Any

from django import forms

#: What a ticked box sends, and what people write; any other word would count as true.
YES_OR_NO = {"true", "false", "on", ""}


def misshapen(value: Any, field: forms.Field) -> str:
    """Why a value of the API or of the command line is not what the field takes; empty when it is."""
    takes_one = isinstance(field, forms.CharField | forms.ChoiceField | forms.BooleanField)
    is_several = isinstance(field, forms.MultipleChoiceField)
    if isinstance(value, dict | list) and takes_one and not is_several:
        return "Send one text, number, true or false."
    if isinstance(field, forms.BooleanField) and not (value is None or isinstance(value, bool)):
        known = isinstance(value, str) and value.lower() in YES_OR_NO
        return "" if known else "Say true or false."
    return ""
