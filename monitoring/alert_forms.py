"""Forms of rules and channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms

from dbadmin import readings
from dbadmin.models import Server
from dbadmin.probes import PROBES
from monitoring import notify
from monitoring.alert_models import AlertRule, Channel
from monitoring.amounts import amount

if TYPE_CHECKING:  # Django's forms take no type argument at run time
    RuleModelForm = forms.ModelForm[AlertRule]
    ChannelModelForm = forms.ModelForm[Channel]
else:
    RuleModelForm = ChannelModelForm = forms.ModelForm

Measure, Comparison = AlertRule.Measure, AlertRule.Comparison


class AmountField(forms.CharField):
    """A number that may be written with a unit."""

    def prepare_value(self, value: Any) -> Any:
        """Without an exponent."""
        return f"{value:.10g}" if isinstance(value, int | float) else value

    def clean(self, value: Any) -> Any:
        """A number, or None."""
        text = super().clean(value)
        try:
            return amount(text) if text else None
        except ValueError as reason:
            raise forms.ValidationError(str(reason)) from None


class RuleForm(RuleModelForm):
    """When a number of a reading needs attention."""

    probe = forms.ChoiceField(label="Reading")
    warning = AmountField(required=False, help_text="A number, or 90%, 4h, 1GiB; a factor for baselines.")
    critical = AmountField(required=False)
    clear = AmountField(required=False, label="Over at", help_text="Empty: as soon as no limit is crossed.")
    floor = AmountField(required=False, label="Only beyond", help_text="Smaller values do not matter at all.")
    for_seconds = AmountField(
        label="For", help_text="So long it must last; means of increases are taken over this time."
    )

    class Meta:
        model = AlertRule
        fields = (
            "name", "probe", "column", "measure", "other", "comparison", "against", "warning", "critical",
            "clear", "floor", "at_least", "for_seconds", "server", "environment", "tag", "advice", "tells",
            "enabled",
        )  # fmt: skip
        labels = {
            "measure": "Number",
            "other": "Other column",
            "comparison": "Bad when",
            "against": "Compared with",
            "at_least": "At least so many",
            "advice": "What to do",
            "tells": "Tell people",
        }
        help_texts = {
            "other": "For increases of one column by another, such as calls_total, or limits that stand in a column.",
            "at_least": "Of the other column (or of both together) within the time; fewer say nothing.",
            "server": "Empty, like the two fields below: every server. The narrower rule stands in for the wider.",
            "tells": "Otherwise it is only listed.",
        }
        widgets = {"advice": forms.Textarea(attrs={"rows": 2})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.kind != AlertRule.Kind.READING:
            for name in ("probe", "column", "measure", "other", "comparison", "against", "floor", "at_least"):
                del self.fields[name]
            del self.fields["clear"]
            self.fields["warning"].help_text = "After so long away, such as 2m."
            return
        read = [(probe.name, probe.title) for probe in PROBES.values() if probe.every is not None]
        self.fields["probe"].choices = sorted(read, key=lambda each: each[1])  # type: ignore[attr-defined]
        if self.instance.probe and self.instance.probe not in dict(read):
            self.fields["probe"].choices.append((self.instance.probe, self.instance.probe))  # type: ignore[attr-defined]

    def clean_for_seconds(self) -> int:
        """Whole seconds."""
        return round(self.cleaned_data["for_seconds"] or 0)

    def clean(self) -> dict[str, Any]:
        """What the parts say together makes sense."""
        data = super().clean() or self.cleaned_data
        if not self.errors and data.get("warning") is None and data.get("critical") is None:
            self.add_error("warning", "Give a warning or a critical limit.")
        if not self.errors and self.instance.kind == AlertRule.Kind.READING:
            self.check_columns(data)
            self.check_order(data)
        return data

    def check_columns(self, data: dict[str, Any]) -> None:
        """The columns are there, and fit the measure."""
        known = columns_of(data["probe"])
        for name in ("column", "other"):
            if data.get(name) and known and data[name] not in known:
                self.add_error(name, f"The reading has no such column. It has: {', '.join(known)}.")
        if data["measure"] != Measure.VALUE and not data["column"].endswith("_total"):
            self.add_error("column", "Only a counter has increases: a column whose name ends with _total.")
        if data["measure"] in {Measure.PER, Measure.SHARE} and not data.get("other"):
            self.add_error("other", "Name the other column.")
        if data["against"] == "column" and (data["measure"] != Measure.VALUE or not data.get("other")):
            self.add_error(
                "against", "Multiples of another column need a value as read, and the other column."
            )
        keyed = PROBES[data["probe"]].key if data["probe"] in PROBES else ()
        if data["against"] == "baseline" and data["measure"] == Measure.VALUE and keyed:
            self.add_error("against", "A baseline of a value as read needs a reading without key columns.")

    def check_order(self, data: dict[str, Any]) -> None:
        """Critical is worse than warning, and the end is better."""
        sign = -1 if data["comparison"] == Comparison.BELOW else 1
        warning, critical, clear = (data.get(name) for name in ("warning", "critical", "clear"))
        if warning is not None and critical is not None and sign * critical < sign * warning:
            self.add_error("critical", "The critical limit must be worse than the warning.")
        least = warning if warning is not None else critical
        if clear is not None and least is not None and sign * clear > sign * least:
            self.add_error("clear", "The end must lie on the good side of the limits.")


def columns_of(probe: str) -> list[str]:
    """The columns of a reading, as last read anywhere; empty when it was never read."""
    found = readings.latest_of(list(Server.objects.filter(enabled=True)[:50]), [probe])
    return next(([column.name for column in one.columns] for one in found.values() if one.columns), [])


class ChannelForm(ChannelModelForm):
    """Where people are told; what its kind must know follows the common part."""

    repeat_seconds = AmountField(
        required=False, label="Remind after", help_text="Of what nobody has taken: 4h. Empty: never."
    )

    class Meta:
        model = Channel
        fields = ("name", "least", "tells_end", "repeat_seconds", "server", "environment", "tag", "enabled")
        labels = {"least": "Tell from", "tells_end": "Tell the end too"}
        help_texts = {"server": "Empty, like the two fields below: every server."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kept = self.instance.settings if self.instance.sealed_settings else {}
        self.ways = notify.fields_of(self.instance.kind)
        for each in self.ways:
            self.fields[each.name] = self.field_of(each)
        order = ["name", *(each.name for each in self.ways)]
        self.order_fields(order)

    def field_of(self, each: notify.Field) -> forms.Field:
        """One setting; a secret is never shown, and left empty it stays."""
        has = bool(self.kept.get(each.name))
        options: dict[str, Any] = {
            "label": each.label,
            "required": each.required and not (each.secret and has),
        }
        if each.choices:
            return forms.ChoiceField(
                choices=each.choices, initial=self.kept.get(each.name), help_text=each.help, **options
            )
        if each.secret:
            stored = " Kept encrypted; empty keeps what is there." if has else " Kept encrypted."
            return forms.CharField(
                widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
                help_text=each.help + stored,
                **options,
            )
        return forms.CharField(
            initial=self.kept.get(each.name) or each.default, help_text=each.help, **options
        )

    def clean_repeat_seconds(self) -> int:
        """Whole seconds; too short a time would be noise."""
        value = round(self.cleaned_data["repeat_seconds"] or 0)
        if 0 < value < 300:
            raise forms.ValidationError("At least 5 minutes.")
        return value

    def save(self, commit: bool = True) -> Channel:
        """With its settings sealed."""
        channel = super().save(commit=False)
        given = {each.name: self.cleaned_data.get(each.name, "") for each in self.ways}
        channel.seal(
            {
                name: value or self.kept.get(name, "") if self.is_secret(name) else value
                for name, value in given.items()
            }
        )
        channel.save()
        return channel

    def is_secret(self, name: str) -> bool:
        """Is this setting never shown?"""
        return any(each.secret for each in self.ways if each.name == name)
