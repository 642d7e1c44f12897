"""The examples of docs/reference/anomaly-results.md, run on a shop whose job has found two records."""

from harness.reference_pages import examples, run_example
from webshop_jobs.world import DAY, HOUR, JOB, Shop


def test_the_examples_of_anomaly_results_run(shop: Shop) -> None:
    shop.put_job()
    shop.client.ml.update_filter(filter_id=f"{JOB}-robots", description="Not people [webshop]")
    shop.put_record(DAY + 2 * HOUR, "ana", 91.5)
    shop.put_record(DAY + 5 * HOUR, "ben", 60)
    (shop.folder.parent / "include").symlink_to(shop.folder)
    file = shop.folder.parent / "dags" / "example.py"
    [told] = [run_example(block, shop.sandbox, file=file) for block in examples("anomaly-results")]
    assert told["worst_hour"]["score"] == 91.5
    assert (told["alerts"]["new"], len(shop.alerts())) == (2, 2)
    assert told["people"] == ["ana", "ben"]
    assert {row["kind"] for row in told["calendars"]["rows"]} >= {"calendar", "filter"}
