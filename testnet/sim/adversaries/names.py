"""Every adversary by the name that scenario files use."""

from testnet.sim.adversaries.forged_chain import ForgedChain
from testnet.sim.adversaries.hill import (
    CopiedClaims,
    DoubleCommitment,
    GroundSalt,
    LateClaims,
)
from testnet.sim.adversaries.invalid import InvalidBlocks
from testnet.sim.adversaries.last_minute import LastMinute
from testnet.sim.adversaries.mouth import Adversary
from testnet.sim.adversaries.poison import Poison
from testnet.sim.adversaries.proposers import Echoing, TwoBlocks
from testnet.sim.adversaries.replay import (
    Babbler,
    Extremes,
    Flooding,
    ForeignReplay,
    StaleReplay,
)
from testnet.sim.adversaries.schedulers import (
    AcceptScheduler,
    Eclipse,
    MessageOrder,
    OldLocks,
    SplitProposals,
)
from testnet.sim.adversaries.silence import (
    Delaying,
    HeldReveal,
    LyingHeight,
    Mute,
    WithheldBlock,
    WithheldCertificate,
)
from testnet.sim.adversaries.voters import (
    AlwaysMinority,
    Balancing,
    DoubleAccept,
    DoubleConfirm,
    DoubleVoter,
    TwoAnswers,
)

NAMES: dict[str, type[Adversary]] = {
    # say too little, too late
    "mute": Mute,
    "delaying": Delaying,
    "withheld_block": WithheldBlock,
    "withheld_certificate": WithheldCertificate,
    "held_reveal": HeldReveal,
    "lying_height": LyingHeight,
    # vote and answer
    "double_voter": DoubleVoter,
    "double_confirm": DoubleConfirm,
    "double_accept": DoubleAccept,
    "two_answers": TwoAnswers,
    "balancing": Balancing,
    "always_minority": AlwaysMinority,
    # propose
    "two_blocks": TwoBlocks,
    "echoing": Echoing,
    "invalid_blocks": InvalidBlocks,
    # repeat, garble, flood
    "stale_replay": StaleReplay,
    "foreign_replay": ForeignReplay,
    "babbler": Babbler,
    "extremes": Extremes,
    "flooding": Flooding,
    # mine
    "copied_claims": CopiedClaims,
    "late_claims": LateClaims,
    "ground_salt": GroundSalt,
    "double_commitment": DoubleCommitment,
    # rule the network until they are stopped
    "message_order": MessageOrder,
    "split_proposals": SplitProposals,
    "accept_scheduler": AcceptScheduler,
    "old_locks": OldLocks,
    "eclipse": Eclipse,
    "last_minute": LastMinute,
    # act only where a test asks them to
    "poison": Poison,
    "forged_chain": ForgedChain,
}
