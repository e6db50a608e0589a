"""The commands that recover a cluster with stock tools alone; a test runs exactly these lines."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from backups.models import BaseBackup, Store, WalSegment
from backups.physical.combining import Layer
from backups.physical.manifest import LIST
from backups.physical.scratch_cluster import AT_LEAST
from backups.physical.wal import segment_name
from backups.recovery_kit import PIPES, aws, check, decrypt, fetch, opened, place, reach, unpack


def base_kit_lines(layers: Sequence[Layer]) -> list[tuple[str, list[str]]]:
    """Headings, each with its shell lines, for a folder of a host that has room for it twice."""
    base = layers[-1].base
    wal = _newest_wal(base)
    several = len(layers) > 1
    targets = [f"layers/{number}" for number, _ in enumerate(layers, 1)] if several else ["data"]
    found = [
        (
            "Fetch the base backup",
            ["umask 077", *reach(stores_of(layers)), *(line for layer in layers for line in _fetch(layer))],
        ),
        ("Check that it is what was written", [line for layer in layers for line in _check(layer)]),
        (
            "Unpack it",
            [PIPES, *(line for each in zip(layers, targets, strict=True) for line in _unpack(*each))],
        ),
    ]
    if several:
        found.append(("Put it together", [_combine(targets, sorted(layers[-1].manifest.tablespaces))]))
    found.append(("Compare it with the server's own list", ["pg_verifybackup --no-parse-wal data"]))
    if wal is not None:
        found.append(("Fetch the WAL since then", _fetch_wal(wal, base, layers[-1].manifest.segment_bytes)))
        found.append(
            ("Unpack it, and see that none is missing", _unpack_wal(layers[-1].manifest.segment_bytes))
        )
    return [*found, ("Recover", _recover(layers[-1]))]


def stores_of(layers: Sequence[Layer]) -> list[Store]:
    """Of the layers and of the WAL."""
    wal = _newest_wal(layers[-1].base)
    return [*(layer.base.store for layer in layers), *([wal.store] if wal else [])]


def _newest_wal(base: BaseBackup) -> WalSegment | None:
    found = WalSegment.objects.filter(server=base.server, system_id=base.system_id).select_related("store")
    return found.order_by("-stored_at").first()


def _folder(layer: Layer) -> str:
    """The objects of each layer have the same names: each gets a folder, named after its moment."""
    return f"fetched/{layer.base.prefix.rpartition('/')[2]}"


def _fetch(layer: Layer) -> list[str]:
    volumes = [volume for piece in layer.manifest.pieces.values() for volume in piece.volumes]
    return [f"mkdir --parents {_folder(layer)}", *fetch(layer.base.store, volumes, _folder(layer))]


def _check(layer: Layer) -> list[str]:
    volumes = [volume for piece in layer.manifest.pieces.values() for volume in piece.volumes]
    return check(volumes, _folder(layer))


def _spaces(target: str) -> str:
    """Where the tablespaces of an unpacked layer lie."""
    return "tablespaces" if target == "data" else f"{target}.tablespaces"


def _unpack(layer: Layer, target: str) -> list[str]:
    recipients, folder = layer.manifest.recipients, f"{_folder(layer)}/"
    lines = [f"mkdir --parents {target}"]
    for oid, piece in reversed(layer.manifest.archives()):
        into = f"{_spaces(target)}/{oid}" if oid else target
        if oid:
            lines += [f"mkdir --parents {into}", f'ln --symbolic "$PWD/{into}" {target}/pg_tblspc/{oid}']
        lines.append(f"{opened(piece, recipients, folder)} | tar --extract --directory={into}")
    return [*lines, unpack(layer.manifest.pieces[LIST], f"{target}/{LIST}", recipients, folder)]


def _combine(targets: Sequence[str], oids: Sequence[str]) -> str:
    mapping = "".join(
        f' --tablespace-mapping="$PWD/{_spaces(targets[-1])}/{oid}=$PWD/tablespaces/{oid}"' for oid in oids
    )
    return f"pg_combinebackup {' '.join(targets)} --output=data --manifest-checksums=SHA256{mapping}"


def _fetch_wal(wal: WalSegment, base: BaseBackup, segment_bytes: int) -> list[str]:
    """Everything from the segment on in which the base backup begins, as far as it is there then.

    Of the parts of a segment, only the longest. Where WAL is still received, it may be gone for the whole segment:
    then everything is listed anew, and what is whole is not fetched again.
    """
    folder = place(wal.store, wal.key.rpartition("/")[0])
    first = segment_name(base.timeline, base.start_lsn // segment_bytes, segment_bytes)
    is_local = wal.store.kind == Store.Kind.LOCAL
    listed = f"ls {folder}" if is_local else f"{aws(wal.store, 'ls')} {folder}/ | awk '{{ print $4 }}'"
    copy = "cp" if is_local else aws(wal.store, "cp")
    longest = "{ longest[substr($1, 1, 24)] = $1; next } { print $1 } END { for (each in longest) print longest[each] }"
    chosen = f"{listed} | awk '$1 < \"{first}\" && !/history/ {{ next }} /partial/ {longest}'"
    fetched = f'{copy} {folder}/"$name" "fetched/$name" && mv "fetched/$name" fetched/wal/'
    each = f'while read -r name; do [ -e "fetched/wal/$name" ] || {{ {fetched}; }} || exit 1; done'
    again = f"rm --force fetched/wal/*.partial.*; ! {{ {chosen} | {each}; }}"
    return [
        PIPES,
        "mkdir --parents fetched/wal",
        "tries=5",
        f'while {again}; do tries=$((tries - 1)); [ "$tries" -gt 0 ] || break; sleep 1; done',
        '[ "$tries" -gt 0 ] || { echo "Not all of the WAL could be fetched."; false; }',
    ]


def _unpack_wal(segment_bytes: int) -> list[str]:
    """The longest part of the last segment is filled up with zeros; PostgreSQL would take a gap for the end."""
    longest = "ls --reverse wal | awk '/partial$/'"
    fill = f'{{ truncate --size={segment_bytes} "wal/$each" && mv "wal/$each" "$whole"; }}'
    number = f"number=$((16#${{each:12:8}} * {(1 << 32) // segment_bytes} + 16#${{each:20:8}}))"
    seen = '[ -z "$last" ] || [ "$number" -le $((last + 1)) ]'
    gap = '{ echo "A segment before $each is missing."; false; }'
    return [
        PIPES,
        "mkdir --parents wal",
        _open_all(".zst.age", decrypt(["anybody"])),
        _open_all(".zst", ""),
        f'{longest} | while read -r each; do whole="wal/${{each%%.*}}"; [ -e "$whole" ] || {fill} || exit 1; done',
        "last=",
        f"for each in wal/{'?' * 24}; do {number}; {seen} || {gap}; last=$number; done",
    ]


def _open_all(suffix: str, decrypted: str) -> str:
    opened_one = f'cat "$each"{decrypted} | zstd --decompress > "$name" || {{ rm "$name"; false; }}'
    name = f'name="wal/$(basename "$each" {suffix})"'
    return f'for each in fetched/wal/*{suffix}; do [ ! -e "$each" ] || {{ {name}; {opened_one}; }}; done'


def _recover(layer: Layer) -> list[str]:
    """With settings of our own: those of the source name its files, its memory and its archive."""
    manifest = layer.manifest
    least = [f"{name} = {manifest.settings[name]}" for name in AT_LEAST if name in manifest.settings]
    spaces = [f'echo "{oid} $PWD/tablespaces/{oid}"' for oid in sorted(manifest.tablespaces)]
    ask = f'psql --host="$PWD" --username={quote(manifest.superuser)} --dbname=postgres --no-align --tuples-only'
    return [
        *([f"{{ {'; '.join(spaces)}; }} > data/tablespace_map"] if spaces else []),
        "[ ! -e data/postgresql.auto.conf ] || mv data/postgresql.auto.conf data/postgresql.auto.conf.source",
        "touch data/recovery.signal ident.conf",
        "echo 'local all all trust' > hba.conf",
        "cat > server.conf <<CONF",
        # A segment that is there and cannot be copied, as on a full disk, is not the end of the WAL.
        'restore_command = \'test -f "$PWD/wal/%f" || exit 1; cp "$PWD/wal/%f" "%p" || exit 200\'',
        "recovery_target_action = 'promote'",
        *least,
        "listen_addresses = ''",
        "unix_socket_directories = '$PWD'",
        "hba_file = '$PWD/hba.conf'",
        "ident_file = '$PWD/ident.conf'",
        "archive_mode = off",
        "CONF",
        "chmod 700 data",
        'pg_ctl start --wait --pgdata=data --log=server.log --options="-c config_file=$PWD/server.conf"',
        f'until [ "$({ask} --command="SELECT pg_is_in_recovery()")" = f ]; do sleep 1; done',
    ]
