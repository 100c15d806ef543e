"""Everything the protocol can refuse, as one tree.

Knows nothing of who sent it: blame is the caller's.
`ConsensusError.code` is stable text that reaches receipts, metrics and users.
"""


class ConsensusError(Exception):
    """Root of the expected errors here; `code` is stable, `str()` is one line of cause."""

    code = "consensus"


class EncodingError(ConsensusError):
    """Bytes that are not canonical, oversized, of the wrong shape or of an unknown version."""

    code = "encoding"


class TextError(ConsensusError):
    """A key, id or reference in text that does not parse to exactly one value."""

    code = "text"


class ParameterError(ConsensusError):
    """Parameters that contradict each other; the message is the failing inequality."""

    code = "parameters"


class SpecError(ConsensusError):
    """A chain specification that cannot start a chain."""

    code = "spec"


class ContinuesMismatch(SpecError):
    """A state that is not the one that a specification continues with (protocol §10)."""

    code = "continues"


class SignatureInvalid(ConsensusError):
    """A signature that does not verify under the one acceptance rule."""

    code = "signature"


class InvalidFact(ConsensusError):
    """A claim, renewal or piece of evidence that is wrong in itself."""

    code = "fact"


class InvalidVote(ConsensusError):
    """A vote that cannot count."""

    code = "vote"


class InvalidBlock(ConsensusError):
    """A block that breaks a validity rule; `rule` names it."""

    code = "block"

    def __init__(self, rule: str, cause: str = "") -> None:
        super().__init__(f"{rule}: {cause}" if cause else rule)
        self.rule = rule


class InvalidCertificate(ConsensusError):
    """A certificate without a quorum of valid signatures of the right table."""

    code = "certificate"


class InvalidProof(ConsensusError):
    """A proof that does not verify; `check` names the step that failed."""

    code = "proof"

    def __init__(self, check: str, cause: str = "") -> None:
        super().__init__(f"{check}: {cause}" if cause else check)
        self.check = check


class NotProvable(InvalidProof):
    """Nothing proves what this chain decided: its kind makes no certificates (protocol §3)."""

    code = "not_provable"

    def __init__(self, kind: str) -> None:
        cause = f"a chain of kind {kind} makes no certificates; only own polls tell what it decided"
        super().__init__("kind", cause)


class TrustExpired(InvalidProof):
    """What is trusted is older than trust_ms: old keys can rewrite what followed (§10)."""

    code = "trust"

    def __init__(self, cause: str) -> None:
        super().__init__("trust", cause)


class CheckpointMissed(InvalidProof):
    """What is shown does not pass through the block that is trusted (§10)."""

    code = "checkpoint"

    def __init__(self, cause: str) -> None:
        super().__init__("checkpoint", cause)


class SignRefused(ConsensusError):
    """A request that contradicts what the sign record says was signed before."""

    code = "sign_refused"
