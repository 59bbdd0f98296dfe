"""The detectors that weigh evidence: each a kind, what an honest host does at most, and an attacker at least.

Behind each: the number of refusals in a row after which its verdict falls, and the contacts of honest hosts for which
one false alarm is expected at most (sequential.py has the proof). Floods are counted instead (floods.py).
"""

from __future__ import annotations

from services.detection import detection
from services.detection.sequential import SequentialDetector, SequentialTest

#: 1 of 100 new targets of an honest host is denied, 4 of 5 of a scanner: 4, 10^6. At the 4th in any case: of the
#: targets that the site allows it is only told of two, and those count against the verdict once
SCAN = SequentialTest(0.01, 0.8, 1e-6)
#: 1 of 100 frames with an address that is not the port's own host's would be a mistake: 4, 10^6
SPOOFING = SequentialTest(0.01, 0.8, 1e-6)
#: of one account. 1 of 10 log-ins of its owner fails, 999 of 1000 of a guesser: 4, 5000. A log-in that succeeds clears
#: up to 3 before it
BRUTE_FORCE = SequentialTest(0.1, 0.999, 2e-4)
#: 1 of 10 accounts of honest people at one address fails and does not succeed later, 9 of 10 of a sprayer: 5, 50000
SPRAYING = SequentialTest(0.1, 0.9, 2e-5)
#: 1 of 10 pages that a visitor or a crawler asks for is not there (icons, old links), 9 of 10 of a prober: 8, 10^7
PROBING = SequentialTest(0.1, 0.9, 1e-7)
#: 1 of 100 honest inputs is refused by the firewall of the site, 4 of 5 of an attack: 4, 10^6
REFUSED = SequentialTest(0.01, 0.8, 1e-6)
#: 1 of 100 honest requests does not arrive whole in time, 4 of 5 of a slow attack: 4, 10^6
SLOW = SequentialTest(0.01, 0.8, 1e-6)


class Detectors:
    """One of each, for what the readers tell (readers.py)."""

    def __init__(self) -> None:
        self.scan = SequentialDetector(detection.SCAN, SCAN)
        self.spoofing = SequentialDetector(detection.SPOOFING, SPOOFING)
        self.brute_force = SequentialDetector(detection.BRUTE_FORCE, BRUTE_FORCE)
        self.spraying = SequentialDetector(detection.SPRAYING, SPRAYING)
        self.probing = SequentialDetector(detection.PROBING, PROBING)
        self.refused = SequentialDetector(detection.PROBING, REFUSED)
        self.slow = SequentialDetector(detection.SLOW_CLIENT, SLOW)
