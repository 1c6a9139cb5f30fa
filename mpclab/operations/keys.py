"""The operations on keys that nobody holds: made, used for signing, kept fresh, handed on.

    dkg       a key that nobody holds: the others here take its operation id
    import    a key that the proposer knows, dealt to all
    sign      a signature by such a key
    sign-batch  signatures on several messages, in the time of one
    refresh   new shares of the same key; everyone deletes the old ones. Whoever names an older
              operation for a signature or the beacon means the shares that are in use
    rules     other rules for the same key: a refresh whose new shares are under these
    reshare   the same key for other holders, or with another threshold; likewise
    repair    a holder that lost its share gets it back: name this operation from then on
    beacon    the next value of a chain of random values that nobody can foresee

Every machine gets `execution.context`, so that nothing said in one operation means anything in
another. A share is stored sealed (`mpc.records`), under the operation that made it. The machines
and their curves are imported when something is executed: a session is light until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from mpclab.core.errors import UsageError, nearest
from mpclab.core.ids import Party
from mpclab.core.machine import Machine
from mpclab.operations.key_rules import KEY_KINDS, RuleBooks
from mpclab.operations.members import members_of
from mpclab.operations.parameters import (
    Bytes,
    Content,
    Contents,
    Number,
    Numbers,
    Reference,
    Text,
    Word,
)
from mpclab.operations.proposal import is_operation_id
from mpclab.operations.rules import Rules, RulesParameter
from mpclab.operations.spec import Execution, Facts, Known, OperationSpec, Result

if TYPE_CHECKING:
    from mpclab.crypto.keys import KeyShare
    from mpclab.mpc.dealing import SharedKey
    from mpclab.mpc.nonces import NonceTable
    from mpclab.mpc.packages import Signature
    from mpclab.mpc.records import KeyRecord

CURVES = {
    "ed25519": "FROST(Ed25519, SHA-512)",
    "secp256k1": "FROST(secp256k1, SHA-256)",
    "bip340": "FROST(secp256k1, BIP 340)",
}

# --- what they have in common -------------------------------------------------------------


def key_of(execution: Execution, op: str) -> KeyRecord:
    """The key that operation `op` made. `UsageError` when it made none."""
    from mpclab.mpc.records import KeyRecord

    result = execution.results.get(op)
    if result is None:
        raise UsageError(f"operation {op} made no key here")
    return KeyRecord.from_bytes(result.data)


def share_of(execution: Execution, op: str) -> KeyShare | None:
    """Our share of that key; None when we hold none.

    Raises:
        UsageError: the stored share does not open, does not fit the key, or is wanted for what
            the key's rules forbid: also in a kind of operation that does not ask for them.
    """
    from mpclab.mpc.records import open_share

    record, proposal = key_of(execution, op), execution.proposal
    if record.rules:
        rules = Rules.parse(record.rules)
        why = rules.forbid(proposal.kind, proposal.by, execution.params)
        if (why := why or rules.lack(execution.approving)) is not None:
            raise UsageError(why)
    data = execution.results[op].data
    for other, sealed in execution.secrets.items():  # a share may go by several operations
        known = execution.results.get(other)
        if sealed and known is not None and known.data == data:
            return open_share(execution.identity, record.key(), execution.me, sealed)
    return None


def present_key(execution: Execution) -> Callable[[SharedKey], Result]:
    identity = execution.identity  # alone: a machine that lingers keeps nobody's old secrets
    why = "" if execution.params.get("silent") == "leave-out" else "the cheating "

    def present(shared: SharedKey) -> Result:
        from mpclab.mpc.records import seal_share

        record = shared.record
        many = f"{record.threshold} of {len(record.holders)}"
        text = f"{_curve(record)} key {record.public.hex()}, {many}"
        if record.excluded:
            text += f", without {why}{_parties(record.excluded)}"
        if record.rules:
            text += f"; {Rules.parse(record.rules)}"
        secret = b"" if shared.share is None else seal_share(identity, shared.share)
        return Result(text, record.to_bytes(), secret)

    return present


def needs_key(params: Mapping[str, Any], known: Known) -> str | None:
    """Is there such a key?"""
    proposal = known.proposals.get(params["key"])
    if proposal is None or proposal.kind not in KEY_KINDS:
        return f"no operation {params['key']} that makes a key is known here"
    return None


def about_key(data: bytes) -> bytes:
    """The public key that a result of these operations is about."""
    from mpclab.mpc.records import KeyRecord

    return KeyRecord.from_bytes(data).public


def holders_of(data: bytes) -> Iterable[Party]:
    """The parties that hold a share of a result's key."""
    from mpclab.mpc.records import KeyRecord

    return KeyRecord.from_bytes(data).holders


def _key_facts(data: bytes) -> Facts:
    from mpclab.mpc.records import KeyRecord

    record = KeyRecord.from_bytes(data)
    suite = record.key().suite
    facts: Facts = (
        ("public_key", record.public.hex()),
        ("curve", _curve(record)),
        ("threshold", record.threshold),
        ("n", len(record.holders)),
        ("holders", ", ".join(map(str, record.holders))),
    )
    if record.rules:
        facts = (*facts, ("rules", record.rules))
    return (*facts, ("x_only", record.public[1:].hex())) if suite.x_only else facts


def _curve(record: KeyRecord) -> str:
    return next(name for name, suite in CURVES.items() if suite == record.suite)


def _public(known: Known, op: str) -> bytes | None:
    """The public key that operation `op` made or renewed."""
    result, proposal = known.results.get(op), known.proposals.get(op)
    if result is None or proposal is None or proposal.kind not in KEY_KINDS:
        return None
    return about_key(result.data)


def _is_key(result: Result) -> bool:
    """Also that of a kind which is not the house's."""
    from mpclab.mpc.records import KeyRecord

    try:
        KeyRecord.from_bytes(result.data)
    except UsageError:
        return False
    return True


def _find_key(params: Mapping[str, Any], known: Known) -> Mapping[str, Any]:
    """The operation that made or last renewed the key which is meant: the one with this name, or
    the newest of all when none is named. A named operation means that one.

    A repair that was proposed after a refresh and gave a share of the older sharing is newer than
    the refresh, and of no use: a replaced sharing is no key any more."""
    wanted = params.get("key", "")
    if (named_one := known.proposals.get(wanted)) is not None:
        if (result := known.results.get(wanted)) is not None and not _is_key(result):
            raise UsageError(f"key: operation {wanted} is a {named_one.kind}, which makes no key")
        return params
    made = [op for op in known.results if _public(known, op) is not None]
    made.sort(key=lambda op: (known.proposals[op].lamport, op))
    if wanted:
        named = {
            _public(known, op)
            for op in made
            if dict(known.proposals[op].params).get("name") == wanted
        }
        made = [op for op in made if _public(known, op) in named]
        if not made and is_operation_id(wanted):  # which others know, perhaps
            return params
        if not made:
            raise UsageError(f"key: {_no_key(wanted, known)}")
    made = [op for op in made if known.successor(op) is None] or made
    if not made:
        raise UsageError("key: no key was made here yet; propose dkg first")
    # Its first operation: one that was overtaken may go by its successor's key, at some alone.
    data = known.results[made[-1]].data
    return {**params, "key": next(op for op in made if known.results[op].data == data)}


def _no_key(wanted: str, known: Known) -> str:
    """Why nothing can be done with the key of this name."""
    names: dict[str, str] = {}  # the newest operation that gave each
    for op, proposal in known.proposals.items():
        if proposal.kind in KEY_KINDS and (name := dict(proposal.params).get("name")):
            names[str(name)] = op
    if wanted in names:
        return f"{wanted!r}, which operation {names[wanted]} makes, is not made here"
    if not names:
        return f"no key called {wanted!r} was made here; propose dkg with name={wanted!r} first"
    return f"no key called {wanted!r} was made here{nearest(wanted, names)}"


def _new_name(params: Mapping[str, Any], known: Known) -> str | None:
    """Is the key's name free?"""
    name = params["name"]
    for op in known.results:
        proposal = known.proposals.get(op)
        if name and proposal is not None and dict(proposal.params).get("name") == name:
            return f"operation {op} made a key called {name!r}"
    return None


def _rules_for(execution: Execution) -> str:
    """Of a key that is made."""
    rules: Rules = execution.params["rules"]
    try:
        rules.check_members(execution.n)
    except ValueError as error:
        raise UsageError(f"rules: {error}") from None
    return rules.text


def _old_and_new(params: Mapping[str, Any], known: Known) -> RuleBooks:
    """The rules that the key has, and the approvals that those want which it will have."""
    return RuleBooks(known.rules_of(the_key(params)), (params["rules"],))


def the_key(params: Mapping[str, Any]) -> Iterable[str]:
    return (params["key"],)


def _parties(parties: Iterable[Party]) -> str:
    named = [str(p) for p in parties]
    return f"part{'y' if len(named) == 1 else 'ies'} {', '.join(named)}"


_SILENT = Text(
    "silent",
    default="stop",
    choices=("stop", "leave-out"),
    help="leave-out: go on without the silent, while 2t - 1 and (n + t) / 2 are left",
)
_KEY = Reference(
    "key", default="", empty=True, help="the operation that made it, or its name; none: the newest",
    kinds=KEY_KINDS,
)  # fmt: skip

# --- keys ---------------------------------------------------------------------------------


def _dkg(execution: Execution) -> Machine:
    from mpclab.crypto.ciphersuites import ciphersuite
    from mpclab.mpc.dkg import Dkg

    participants = members_of(execution, "members")
    threshold = execution.params["threshold"] or execution.t
    if threshold > len(participants):
        raise UsageError(f"threshold: {threshold} of {len(participants)} parties")
    return Dkg(
        execution.context,
        execution.identity,
        execution.keys,
        threshold,
        participants,
        ciphersuite(CURVES[execution.params["curve"]]),
        deadline=execution.deadline,
        present=present_key(execution),
        gated=True,
        rules=_rules_for(execution),
        leaves_silent=execution.params["silent"] == "leave-out",
    )


def _import(execution: Execution) -> Machine:
    from mpclab.crypto.ciphersuites import ciphersuite
    from mpclab.crypto.errors import EncodingError
    from mpclab.mpc.importing import Import

    params, suite = execution.params, ciphersuite(CURVES[execution.params["curve"]])
    holders = members_of(execution, "members")
    threshold = params["threshold"] or execution.t
    if threshold > len(holders):
        raise UsageError(f"threshold: {threshold} of {len(holders)} parties")
    try:
        suite.group.decode_element(params["public"])
    except EncodingError as error:
        raise UsageError(f"public: {error}") from None
    return Import(
        execution.context,
        execution.identity,
        execution.keys,
        execution.proposal.by,
        params["public"],
        holders,
        threshold,
        suite,
        deadline=execution.deadline,
        present=present_key(execution),
        gated=True,
        rules=_rules_for(execution),
    )


def _refresh(execution: Execution) -> Machine:
    from mpclab.mpc.refresh import Refresh

    op = execution.params["key"]
    return Refresh(
        execution.context,
        execution.identity,
        execution.keys,
        key_of(execution, op),
        share_of(execution, op),
        deadline=execution.deadline,
        present=present_key(execution),
        gated=True,
        rules=_rules_for(execution) if "rules" in execution.params else None,
        leaves_silent=execution.params.get("silent") == "leave-out",
    )


def _reshare(execution: Execution) -> Machine:
    from mpclab.mpc.reshare import Reshare

    op = execution.params["key"]
    record, share = key_of(execution, op), share_of(execution, op)
    dealers = tuple(sorted(set(execution.params["dealers"]))) or record.holders
    return Reshare(
        execution.context,
        execution.identity,
        execution.keys,
        record,
        share,
        members_of(execution, "members"),
        execution.params["threshold"] or record.threshold,
        dealers,
        deadline=execution.deadline,
        present=present_key(execution),
        gated=True,
    )


def _repair(execution: Execution) -> Machine:
    from mpclab.mpc.repair import Repair

    params, me = execution.params, execution.me
    op, lost = params["key"], params["party"]
    record, share = key_of(execution, op), share_of(execution, op)
    others = [p for p in record.holders if p != lost]
    helpers = tuple(sorted(set(params["helpers"]))) or tuple(others[: record.threshold])
    if me in helpers and share is None:
        raise UsageError(f"we have no share of key {op} to help with")

    present_it = present_key(execution)

    def present(shared: SharedKey) -> Result:
        # A holder of a share keeps it: it now belongs to this operation too.
        mine = shared if me == lost else type(shared)(shared.record, share)
        return present_it(mine)

    return Repair(
        execution.context,
        execution.identity,
        execution.keys,
        record,
        None if me == lost else share,
        lost,
        helpers,
        deadline=execution.deadline,
        present=present,
    )


def _beacon(execution: Execution) -> Machine:
    from mpclab.mpc.beacon import Beacon, BeaconRecord, BeaconValue

    op, after = execution.params["key"], execution.params["after"]
    record = key_of(execution, op)
    number, previous = 1, b""
    if after:
        known = execution.results.get(after)
        found = BeaconRecord.parse(known.data) if known is not None else None
        if found is None or found.key != record.public:
            raise UsageError(f"after: operation {after} made no value of this beacon here")
        number, previous = found.number + 1, found.value
    for other, result in execution.results.items():
        drawn = BeaconRecord.parse(result.data)
        if drawn is not None and (drawn.key, drawn.number) == (record.public, number):
            raise UsageError(f"after: value {number} is known, by operation {other}")

    def present(found: BeaconValue) -> Result:
        made = BeaconRecord(record.public, found.number, found.previous, found.value)
        return Result(f"value {found.number}: {found.value.hex()}", made.to_bytes())

    return Beacon(
        record,
        share_of(execution, op),
        number,
        previous,
        deadline=execution.deadline,
        present=present,
    )


def _next_value(params: Mapping[str, Any], known: Known) -> Mapping[str, Any]:
    """After the last value of the key's beacon that is known here."""
    from mpclab.mpc.beacon import BeaconRecord

    params = _find_key(params, known)
    key = _public(known, params["key"])
    if params.get("after") or key is None:
        return params
    drawn = {op: BeaconRecord.parse(result.data) for op, result in known.results.items()}
    numbers = {op: found.number for op, found in drawn.items() if found and found.key == key}
    return {**params, "after": max(numbers, key=numbers.__getitem__)} if numbers else params


def _beacon_facts(data: bytes) -> Facts:
    from mpclab.mpc.beacon import BeaconRecord

    found = BeaconRecord.parse(data)
    if found is None:
        return ()
    return (
        ("number", found.number),
        ("value", found.value.hex()),
        ("previous", found.previous.hex()),
        ("public_key", found.key.hex()),
    )


def _moves_on(params: Mapping[str, Any], known: Known) -> str | None:
    """Is there such a key, and is this value not known yet?"""
    from mpclab.mpc.beacon import BeaconRecord

    if (wrong := needs_key(params, known)) is not None:
        return wrong
    after = known.results.get(params["after"])
    last = BeaconRecord.parse(after.data) if after is not None else None
    number = last.number + 1 if last is not None else 1
    key = _public(known, params["key"])
    for op, result in known.results.items():
        found = BeaconRecord.parse(result.data)
        if found is not None and (found.key, found.number) == (key, number):
            return f"value {number} of this beacon is known, by operation {op}"
    return None


def _sign(execution: Execution) -> Machine:
    from mpclab.mpc.exports import SignatureRecord, payload
    from mpclab.mpc.records import derived
    from mpclab.mpc.roast import Roast
    from mpclab.mpc.sign import Sign

    params = execution.params
    op, (message, hashed) = params["key"], params["message"]
    namespace = params["namespace"] if params["format"] == "ssh" else ""
    whole = key_of(execution, op)
    if namespace and whole.suite != CURVES["ed25519"]:
        raise UsageError("format: SSH signatures need an ed25519 key")
    record, share = derived(whole, share_of(execution, op), params["derive"], params["taproot"])

    def present(signed: Signature) -> Result:
        found = SignatureRecord(record, message, signed.signature, namespace, hashed)
        return Result(signed.signature.hex(), found.to_bytes())

    if params["protocol"] == "roast":
        return Roast(
            execution.context,
            record,
            share,
            (payload(message, namespace, hashed),),
            deadline=execution.deadline,
            present=lambda made: present(made[0]),
        )
    return Sign(
        execution.context,
        execution.identity,
        execution.keys,
        record,
        share,
        payload(message, namespace, hashed),
        deadline=execution.deadline,
        present=present,
    )


def _sign_batch(execution: Execution) -> Machine:
    from mpclab.mpc.exports import payload
    from mpclab.mpc.roast import Roast

    op, messages = execution.params["key"], execution.params["messages"]

    def present(made: tuple[Signature, ...]) -> Result:
        signatures = [signed.signature for signed in made]
        return Result(", ".join(s.hex() for s in signatures), msgspec.msgpack.encode(signatures))

    return Roast(
        execution.context,
        key_of(execution, op),
        share_of(execution, op),
        tuple(payload(data, "", hashed) for data, hashed in messages),
        deadline=execution.deadline,
        present=present,
    )


def _nonces(execution: Execution) -> Machine:
    from mpclab.mpc.nonces import NonceTable, Pairs, PrepareNonces

    op = execution.params["key"]
    record = key_of(execution, op)
    tables = (NonceTable.parse(result.data) for result in execution.results.values())
    used = [
        element
        for table in tables
        if table is not None and table.key == record.public
        for column in (*table.hiding, *table.binding)
        for element in column
    ]

    def present(table: NonceTable, pairs: Pairs) -> Result:
        many = f"{table.count} of each of {_parties(table.holders)}"
        return Result(many, table.to_bytes(), fleeting=pairs)

    return PrepareNonces(
        execution.context,
        record,
        share_of(execution, op),
        execution.params["count"],
        used=used,
        deadline=execution.deadline,
        present=present,
    )


def _sign_prepared(execution: Execution) -> Machine:
    from mpclab.mpc.exports import SignatureRecord, payload
    from mpclab.mpc.nonces import Ahead
    from mpclab.mpc.sign import Sign

    params = execution.params
    op, (message, hashed), number = params["key"], params["message"], params["nonce"]
    record = key_of(execution, op)
    table = _table(execution.results, params["nonces"])
    if table is None or (table.key, table.holders) != (record.public, record.holders):
        raise UsageError(f"nonces: {params['nonces']} made none for the holders of this key")
    entries = table.entries(number, record.threshold)
    pairs = execution.fleeting.get(params["nonces"])
    # Taken whatever comes: no other operation finds this pair, and no other run of this one.
    ours = pairs.take(number) if pairs is not None else None

    def present(signed: Signature) -> Result:
        found = SignatureRecord(record, message, signed.signature, "", hashed)
        return Result(signed.signature.hex(), found.to_bytes())

    return Sign(
        execution.context,
        execution.identity,
        execution.keys,
        record,
        share_of(execution, op),
        payload(message, "", hashed),
        deadline=execution.deadline,
        ahead=Ahead(entries, ours),
        present=present,
    )


def _table(results: Mapping[str, Result], op: str) -> NonceTable | None:
    from mpclab.mpc.nonces import NonceTable

    return NonceTable.parse(results[op].data) if op in results else None


def _find_nonces(params: Mapping[str, Any], known: Known) -> Mapping[str, Any]:
    """The oldest nonces of the key, and the first number, that no proposal known here uses."""
    params = _find_key(params, known)
    key = _public(known, params["key"])
    if params.get("nonce") and params.get("nonces"):
        return params
    wanted = params.get("nonces")
    tables = {op: _table(known.results, op) for op in ([wanted] if wanted else known.results)}
    made = [(op, t) for op, t in tables.items() if t is not None and t.key == key]
    made.sort(key=lambda one: (known.proposals[one[0]].lamport, one[0]))
    for op, table in made:
        used = _spent(known, op)
        free = [k for k in range(1, table.count + 1) if k not in used]
        if free:
            return {**params, "nonces": op, "nonce": free[0]}
    raise UsageError("nonces: none are left for this key; propose nonces first")


def _spent(known: Known, op: str) -> set[int]:
    """The numbers of prepared nonces that proposals name."""
    named = (dict(p.params) for p in known.proposals.values() if p.kind == "sign-prepared")
    numbers = [params["nonce"] for params in named if params["nonces"] == op]
    return {number for number in numbers if isinstance(number, int)}


def _has_nonces(params: Mapping[str, Any], known: Known) -> str | None:
    """Is there such a key, and are there such nonces?"""
    if (wrong := needs_key(params, known)) is not None:
        return wrong
    table = _table(known.results, params["nonces"])
    if table is None:
        return f"operation {params['nonces']} made no nonces that are known here"
    return None if params["nonce"] <= table.count else f"there are {table.count} nonces"


def _batch_facts(data: bytes) -> Facts:
    signatures = msgspec.msgpack.decode(data, type=tuple[bytes, ...])
    return tuple((f"signature {i}", one.hex()) for i, one in enumerate(signatures, 1))


def _signature_facts(data: bytes) -> Facts:
    from mpclab.mpc.exports import SignatureRecord

    found = SignatureRecord.from_bytes(data)
    return (
        ("signature", found.signature.hex()),
        ("format", "ssh" if found.namespace else "raw"),
        ("message", found.message.hex()),
        ("hashed", found.hashed),
        *_key_facts(found.record.to_bytes()),
    )


_new_shares = partial(
    OperationSpec,
    validate=needs_key,
    complete=_find_key,
    facts=_key_facts,
    after=the_key,
    retires=the_key,
    resumable=True,
    about=about_key,
    held_by=holders_of,
    certified=True,
)
"""An operation after which a key's holders have new shares, and no old ones."""

KEY_OPERATIONS = (
    OperationSpec(
        "dkg",
        _dkg,
        (
            Text("curve", default="ed25519", choices=tuple(CURVES), help="what the key is for"),
            Number("threshold", default=0, help="shares needed to sign; 0: the session's"),
            Numbers("members", default=(), low=1, help="who holds it; none named: all"),
            Text("name", default="", empty=True, longest=64, help="to name it by later"),
            RulesParameter("rules", default="", help="who may use it, for what, approved by whom"),
            _SILENT,
        ),
        sentence="make a key together ({curve})",
        shown=("rules", "silent"),
        validate=_new_name,
        facts=_key_facts,
        resumable=True,
        about=about_key,
        held_by=holders_of,
        certified=True,
    ),
    OperationSpec(
        "import",
        _import,
        (
            Bytes("public", longest=33, help="the public key; for bip340 33 bytes, as 02… or 03…"),
            Text("curve", default="ed25519", choices=tuple(CURVES), help="what the key is for"),
            Number("threshold", default=0, help="shares needed to sign; 0: the session's"),
            Numbers("members", default=(), low=1, help="who holds it; none named: all"),
            Text("name", default="", empty=True, longest=64, help="to name it by later"),
            RulesParameter("rules", default="", help="who may use it, for what, approved by whom"),
        ),
        sentence="share the {curve} key {public}, which the proposer knows",
        shown=("rules",),
        validate=_new_name,
        facts=_key_facts,
        resumable=True,
        about=about_key,
        held_by=holders_of,
        certified=True,
    ),
    OperationSpec(
        "sign",
        _sign,
        (
            _KEY,
            Content("message", help="text, hex:… for bytes, sha256:… or sha512:… for a hash"),
            Text("format", default="raw", choices=("raw", "ssh"), help="what OpenSSH verifies"),
            Word("namespace", default="file", longest=64, help="of an SSH signature"),
            Text("derive", default="", empty=True, longest=256, help="a BIP 32 path, such as 0/5"),
            Text("taproot", default="", empty=True, longest=64, help="a Merkle root, in hex"),
            Text(
                "protocol",
                default="frost",
                choices=("frost", "roast"),
                help="roast: a silent holder costs no deadline",
            ),
        ),
        sentence="sign with key {key}: {message}",
        shown=("format", "namespace", "derive", "taproot", "protocol"),
        validate=needs_key,
        complete=_find_key,
        facts=_signature_facts,
        after=the_key,
        follows=True,
        resumable=True,
    ),
    OperationSpec(
        "sign-batch",
        _sign_batch,
        (_KEY, Contents("messages", help="each as for sign; in a field, one a line")),
        sentence="sign each with key {key}: {messages}",
        validate=needs_key,
        complete=_find_key,
        facts=_batch_facts,
        after=the_key,
        follows=True,
        resumable=True,
    ),
    OperationSpec(
        "nonces",
        _nonces,
        (_KEY, Number("count", default=8, low=1, high=64, help="pairs of each holder")),
        sentence="prepare {count} signatures with key {key}: nonces of each holder",
        validate=needs_key,
        complete=_find_key,
        after=the_key,
        follows=True,
        fleeting=True,
    ),
    OperationSpec(
        "sign-prepared",
        _sign_prepared,
        (
            _KEY,
            Content("message", help="text, hex:… for bytes, sha256:… or sha512:… for a hash"),
            Reference(
                "nonces",
                default="",
                empty=True,
                kinds=("nonces",),
                help="the operation that prepared them; none: the oldest that has some left",
            ),
            Number("nonce", default=0, high=64, help="which of them; 0: the next"),
        ),
        sentence="sign with key {key}, by prepared nonces {nonce} of {nonces}: {message}",
        validate=_has_nonces,
        complete=_find_nonces,
        facts=_signature_facts,
        after=lambda params: (params["key"], params["nonces"]),
        follows=True,
        resumable=True,
    ),
    _new_shares(
        "refresh",
        _refresh,
        (_KEY, _SILENT),
        sentence="give all holders of key {key} new shares",
        shown=("silent",),
    ),
    _new_shares(
        "rules",
        _refresh,
        (_KEY, RulesParameter("rules", help="in place of all that it has; {} for none")),
        sentence="give key {key} other rules: {rules}",
        rules=_old_and_new,
    ),
    _new_shares(
        "reshare",
        _reshare,
        (
            _KEY,
            Numbers("members", default=(), low=1, help="the new holders; none named: all"),
            Number("threshold", default=0, help="shares needed; 0: as before"),
            Numbers("dealers", default=(), low=1, help="old holders that deal; none named: all"),
        ),
        sentence="give key {key} to other holders",
    ),
    OperationSpec(
        "repair",
        _repair,
        (
            _KEY,
            Number("party", low=1, help="who lost its share"),
            Numbers("helpers", default=(), low=1, help="other holders; none named: the first t"),
        ),
        sentence="give party {party} its share of key {key} back",
        validate=needs_key,
        complete=_find_key,
        facts=_key_facts,
        after=the_key,
        about=about_key,
        held_by=holders_of,
        resumable=True,
    ),
    OperationSpec(
        "beacon",
        _beacon,
        (
            _KEY,
            Reference("after", default="", empty=True, help="the value before; none: the last"),
        ),
        sentence="draw the next value of key {key}'s beacon",
        validate=_moves_on,
        complete=_next_value,
        facts=_beacon_facts,
        after=lambda params: tuple(op for op in (params["key"], params["after"]) if op),
        follows=True,
        resumable=True,
    ),
)

BY_KIND = {spec.name: spec for spec in KEY_OPERATIONS}
