"""The four figures of every ingestion, and the rule that holds between them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counts:
    """Records of one attempt at one partition: ``read = indexed + duplicate + rejected``.

    :param read: records that the adapter made documents or rejects of.
    :param indexed: documents that this attempt added to the stream.
    :param duplicate: documents whose id the stream held already.
    :param rejected: records in the dead letters or in the failure store.
    :param uncertain: documents that are in the stream although no answer said so (the connection was lost): indexed or
        duplicate, which the closing count decides; 0 afterwards.
    """

    read: int = 0
    indexed: int = 0
    duplicate: int = 0
    rejected: int = 0
    uncertain: int = 0

    def add(self, other: Counts) -> None:
        """Add another count to this one."""
        self.read += other.read
        self.indexed += other.indexed
        self.duplicate += other.duplicate
        self.rejected += other.rejected
        self.uncertain += other.uncertain

    def settle(self, added: int) -> bool:
        """Divide the uncertain ones, knowing how many documents the stream gained; False when that cannot be.

        :param added: documents that the stream holds now and did not hold before the attempt.
        """
        lost = added - self.indexed
        if not 0 <= lost <= self.uncertain:
            return False
        self.indexed += lost
        self.duplicate += self.uncertain - lost
        self.uncertain = 0
        return True

    @property
    def balanced(self) -> bool:
        """Whether every record read is accounted for."""
        return self.read == self.indexed + self.duplicate + self.rejected + self.uncertain

    def figures(self) -> dict[str, int]:
        """The four figures as the ledger and XComs hold them."""
        return {
            "read": self.read,
            "indexed": self.indexed,
            "duplicate": self.duplicate,
            "rejected": self.rejected,
        }
