"""The rules that are there because a run without them forked, stopped or was bought: with the test.

Data only. Each row was tried: with the rule weakened where it stands, that test fails.
"""

from typing import NamedTuple


class Dagger(NamedTuple):
    """`place`: module.name in the code. `test`: file under tests/ and function."""

    section: int
    rule: str
    without: str
    place: str
    test: str


DAGGERS = (
    Dagger(
        2,
        "signatures are accepted by libsodium's rule alone",
        "a key holder splits nodes that use different libraries",
        "node.verifier.verify_once",
        "node/test_verifier.py::test_edge_cases_are_judged_as_libsodium_does",
    ),
    Dagger(
        4,
        "the last header of an epoch names the next table",
        "a light client takes any table",
        "consensus.light.check_next_table",
        "consensus/test_light.py::test_the_next_table_is_the_one_that_the_last_header_names",
    ),
    Dagger(
        4,
        "the commitment is inside the proof of work",
        "a miner tries commitments for free, and chooses the randomness",
        "consensus.facts.claim_digest",
        "consensus/test_claims.py::test_work_is_bound_to_chain_epoch_peer_and_commitment",
    ),
    Dagger(
        4,
        "the first included commitment of a peer is fixed, though outbid",
        "as above, one claim later",
        "consensus.transition._Book._commitment",
        "consensus/test_transition.py::test_the_first_commitment_of_a_peer_is_fixed_though_outbid",
    ),
    Dagger(
        4,
        "claims close claim_close blocks before the epoch ends",
        "who proposes last decides which claims are in",
        "consensus.parameters.Parameters.claims_open",
        "consensus/test_transition.py::test_claims_close_before_the_epoch_does",
    ),
    Dagger(
        4,
        "a late accept of the last 32 heights is a proof of life",
        "proposers evict a slow but honest owner",
        "consensus.transition._Book._enter_late",
        "consensus/test_transition.py::test_a_late_accept_is_of_one_of_the_last_32_heights",
    ),
    Dagger(
        4,
        "shown a certificate before it accepted, a peer signs its accept first",
        "as above: it would have none to show",
        "consensus.voting.accept_certified",
        "consensus/test_voting.py::"
        "test_shown_a_certificate_before_it_accepted_it_signs_its_accept_first",
    ),
    Dagger(
        4,
        "where no owner is ranked, all are",
        "nobody may propose: the chain stops",
        "consensus.proposers.ranking",
        "consensus/test_transition.py::test_a_chain_where_nobody_committed_goes_on_without_reveals",
    ),
    Dagger(
        4,
        "the turnover of a table is bounded by slots, occupation and time",
        "a burst of hash power takes the chain at once",
        "consensus.tables.turnover_bound",
        "consensus/test_tables.py::test_a_burst_of_hash_power_does_not_take_a_table_at_once",
    ),
    Dagger(
        5,
        "links of a hash chain are numbered by height",
        "the reveal of a lost proposal tells the next randomness",
        "consensus.validity._check_proposer",
        "consensus/test_validity.py::test_a_reveal_is_the_link_of_this_height",
    ),
    Dagger(
        5,
        "the round clock stops and resets when nothing is due any more",
        "late ranks are open at once when something comes due",
        "consensus.proposing.advance_round_clock",
        "consensus/test_proposing.py::test_the_clock_stops_and_resets_when_neither_holds_any_more",
    ),
    Dagger(
        5,
        "rank i is a candidate from i windows on, with no end",
        "peers whose clocks differ count different candidates, for ever",
        "consensus.proposing.is_open",
        "consensus/test_proposing.py::test_rank_i_is_a_candidate_from_its_window_on_with_no_end",
    ),
    Dagger(
        5,
        "no fresh proposal by who holds a valid value",
        "its proposal competes with what may be certified already",
        "consensus.building.own_turn_ms",
        "consensus/test_clauses_rules.py::"
        "test_who_has_a_valid_value_that_is_not_here_makes_no_fresh_proposal_either",
    ),
    Dagger(
        5,
        "no fresh proposal by who has begun polling",
        "late proposals split preferences that had met",
        "consensus.building.own_turn_ms",
        "consensus/test_proposing.py::test_no_own_proposal_once_polling_has_begun",
    ),
    Dagger(
        5,
        "two proposals of one slot stay candidates for counting and voting",
        "half of the peers cannot count what the other half prefers",
        "consensus.proposing.is_candidate",
        "consensus/test_proposing.py::test_doubles_stay_candidates_for_counting",
    ),
    Dagger(
        6,
        "the valid value comes first, without polls, also in mid-poll",
        "a value that some have locked is polled away, round after round",
        "consensus.polling.advance_settling",
        "consensus/test_polling.py::test_the_valid_value_comes_first_also_in_mid_poll",
    ),
    Dagger(
        6,
        "from round 1 on the round's first owner says which valid value",
        "one vote shown late each round stops the chain (ADR 0016)",
        "consensus.polling.led_value",
        "model/test_model_healed.py::test_real_engines_decide_whatever_is_shown_at_the_last_moment",
    ),
    Dagger(
        6,
        "2·beta polls led by one value settle weakly",
        "a third of mute slots keeps alpha_confidence away for ever",
        "consensus.snowball.Snowball._settle",
        "consensus/test_polling.py::test_weak_settling_when_a_third_never_answers",
    ),
    Dagger(
        6,
        "settle_timeout after the first executed candidate settles",
        "an even split never moves",
        "consensus.polling.settle_deadline_ms",
        "consensus/test_polling.py::"
        "test_settle_timeout_after_the_first_executed_candidate_on_the_preference",
    ),
    Dagger(
        6,
        "a round ≥ 1 without a candidate settles on nil by time",
        "a round in which nobody proposes never ends",
        "consensus.polling.settle_deadline_ms",
        "consensus/test_polling.py::test_no_candidate_at_all_settles_nil_in_rounds_from_one_on",
    ),
    Dagger(
        7,
        "a quorum is of one round",
        "votes of two rounds certify two blocks",
        "consensus.votes.Votes.quorum",
        "consensus/test_votes.py::test_a_quorum_is_of_one_round_only",
    ),
    Dagger(
        7,
        "the sign record is in the order to sign, durable before the signature",
        "a crash in between signs twice",
        "consensus.voting.sign_vote",
        "consensus/test_voting.py::test_the_record_with_the_vote_is_part_of_the_order_to_sign",
    ),
    Dagger(
        7,
        "places of the sign record only grow: propose < confirm < accept",
        "two votes for one place",
        "consensus.signing.SignRecord.allows",
        "consensus/test_signing.py::test_only_later_places_are_allowed",
    ),
    Dagger(
        7,
        "the lock is in the sign record",
        "a restart confirms another block: two certificates",
        "consensus.signing.SignRecord.raw",
        "consensus/test_signing.py::test_the_record_survives_its_bytes",
    ),
    Dagger(
        7,
        "the valid value is in the sign record, with its proof",
        "after a restart nobody can free a stale lock",
        "consensus.signing.SignRecord.raw",
        "consensus/test_voting.py::"
        "test_the_valid_value_is_durable_at_once_where_no_accept_carries_it",
    ),
    Dagger(
        7,
        "a block that faults on this host is vouched for by an earlier quorum only",
        "one message that kills workers at half of the hosts stops the chain",
        "consensus.proposing.is_vouched",
        "consensus/test_clauses_faults.py::"
        "test_a_quorum_of_an_earlier_round_vouches_for_it_unexecuted",
    ),
    Dagger(
        8,
        "a proposal is a candidate only when the own clock has reached its time",
        "a proposer moves the chain's time ahead",
        "consensus.proposing.is_open",
        "consensus/test_proposing.py::"
        "test_a_proposal_is_a_candidate_only_when_our_clock_reaches_its_time",
    ),
    Dagger(
        8,
        "gas is that of the header's round",
        "a block that is too dear for all hosts fails every round",
        "consensus.validity._check_body",
        "consensus/test_validity.py::test_gas_is_of_the_headers_round",
    ),
    Dagger(
        9,
        "seen ids are one leaf per block and expiry, dropped whole",
        "a leaf, and the proof of an absence, grow with an attacker's choice",
        "node.execution.settle.changes",
        "node/execution/test_execution_window.py::"
        "test_leaves_are_one_a_block_and_expiry_and_are_dropped_whole",
    ),
    Dagger(
        10,
        "the last header of an epoch counts only with its certificate",
        "anybody chains headers, and owns the next table",
        "consensus.light.skip",
        "consensus/test_light.py::test_a_forged_chain_of_headers_convinces_nobody",
    ),
)
