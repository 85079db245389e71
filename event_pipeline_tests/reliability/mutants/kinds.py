"""The kinds of defects that once survived, when the product was tried from outside, each with mutants that are it now.

Every kind has at least two, so that no test is written for the one text that was planted. A mutant is named by its
defect.
"""

from __future__ import annotations

DURABILITY, RACES, FRESHNESS = "durability", "locks and races", "freshness"
COMPLETENESS, UPKEEP = "completeness", "repair and retirement"
PROOFS, VALUES, TESTS = "blind proofs", "order and values", "tests that pass for the wrong reason"

KINDS: dict[str, dict[str, tuple[str, ...]]] = {
    DURABILITY: {
        "a data file or commit record that is not synced": (
            "A commit record is renamed before its bytes are on the disk",
            "A data file is taken into the lake without being synced",
            "Only the name of a data file is synced, not its bytes",
            "A rebuilt catalog is not synced before it gets its name",
            "A decoded object is kept before its rows are on the disk",
        ),
        "a rename that is not made durable": (
            "The rename of a commit record is not made durable",
            "Only the bytes of a data file are synced, not its name",
            "A new folder is not synced into the one above",
        ),
        "registered before it is committed: a Gold day, a partial": (
            "A Gold day is registered before it is committed",
            "A partial is registered before it is committed",
        ),
    },
    RACES: {
        "a day folded, or an hour retired, without its lock": (
            "A day is folded without its lock",
            "An hour is retired without its lock",
            "A day is retired without its lock",
            "An hour is built without its lock",
        ),
        "the record of a day read after its partials": (
            "The record of a day is read after its partials",
            "The commit record of an hour is read after its listing",
        ),
        "a slower registration that points back to the older build": (
            "A slower registration of a day points back to the older build",
            "A slower registration of an hour points back to the older build",
        ),
        "a put whose answer was lost, taken for overtaken": (
            "a put whose answer was lost is taken for overtaken",
            "a swap that was overtaken counts as done",
        ),
        "a swap of the state of alerts that is not one step": (
            "the swap of the alert document overwrites what another process wrote",
            "the swap of the alert document is a comparison and a write, not one step",
            "A swap of the state of alerts that lost counts as done",
        ),
    },
    FRESHNESS: {
        "replaced within the same second by one of the same size": (
            "An object that is replaced within the same second by one of the same size counts as the same",
            "Two versions of a commit record in one tick of the file system's clock look the same",
            "The Glue job takes other rows of the same size for those that it kept",
        ),
        "replaced by a rename while it is read": (
            "An object that is replaced by a rename while it is read is not noticed",
            "An object that is rewritten in place while it is read is not noticed",
        ),
        "a replaced object that is read under the old etag": (
            "An object that was replaced since it was listed is digested under the old etag",
            "an object that was replaced is read on under the old listing",
            "The Glue job reads whatever is under the key of a listed object",
        ),
        "a decoded object found without its size, or by its size alone": (
            "A decoded object is found by a name without its size",
            "A decoded object is found by a name without anything but its size",
            "A decoded object is found by a name without its etag",
        ),
        "new SQL or rules that are overlooked, or asked for under a used run key": (
            "New SQL is not noticed while days are settled",
            "An hour is asked for under a used run key when the SQL is new",
            "An object that is replaced and put back is asked for under a used run key",
            "A day that another version folded from the same partials is not folded again",
        ),
    },
    COMPLETENESS: {
        "what a batch left unprocessed is forgotten": (
            "partitions that a batch left unprocessed are forgotten",
            "partitions beyond the first page of a listing are forgotten",
            "a partition that another process added meanwhile is not repointed",
        ),
        "what cannot be deleted is not reported": (
            "an object that cannot be deleted is not reported",
            "a partition that cannot be dropped is not reported",
            "A file that cannot be removed is reported as removed",
        ),
        "partials outside the window are dropped from a day": (
            "A partial outside the window is dropped from its day",
            "The hours that are refreshed are not folded where they are outside the window",
            "A day that an hour left is forgotten if the run that folds it is killed and limits become narrower",
        ),
        "landing hours with the last events of a day are not looked at": (
            "The landing hours that have the last events of a day are not looked at",
            "The landing hour that has the first events of a day is not looked at",
            "the window of a day has no hours after its end",
        ),
        "a rebuilt hour is not behind although its partial is older": (
            "A rebuilt hour is not behind although its partial is older",
            "An hour whose day was not folded again is not behind",
            "A partial of older Silver is taken for one of the Silver there is",
        ),
    },
    UPKEEP: {
        "the right build with the wrong files is left alone": (
            "An entry with the right build and the wrong files is left alone",
            "The files of an entry are not compared",
            "files of another build are no difference of a partition",
        ),
        "a file that was cut counts as there": (
            "A file that was cut counts as there",
            "A decoded object whose rows were cut is used",
            "The Glue job takes kept rows of another size",
        ),
        "control totals of a dropped hour stay": (
            "The control totals of a dropped hour stay",
            "The rows of a dropped hour stay while its files go",
            "a retired hour has its control totals where nobody finds them",
        ),
        "a Gold day is retired while an hour still has Silver": (
            "A Gold day is retired while an hour of it still has Silver",
            "Gold may be given up while hours with Silver still change it",
            "An hour is retired although Gold does not show it yet",
        ),
        "files of an hour that was just retired go at once": (
            "The files of an hour that has just been retired go at once",
            "A build that is just being made is taken for an abandoned one",
        ),
    },
    PROOFS: {
        "surplus rows in a partition pass": (
            "surplus rows in a partition pass",
            "surplus rows of Gold pass, only missing ones are found",
            "Gold with more than Silver has passes",
        ),
        "only the last of the days that an hour touches counts": (
            "only the last of the days that an hour touches counts in a check",
            "only the first of the days that an hour touches counts in a check",
        ),
        "reasons in the files are not compared": (
            "reasons of quarantined records are not compared by the law",
            "reasons of refused records are not compared with the commit record",
            "the quarantine is not compared",
        ),
        "rows of an object that raw does not have": (
            "published rows of an object that raw does not have are not compared",
            "rows are counted but their content is not compared",
        ),
        "surplus objects in a record": (
            "a record that names an object that is not there passes",
            "a published hour without a commit record is proven",
        ),
        "an object that was wrongly set aside": (
            "an object that was wrongly set aside is not noticed",
            "an unreadable object passes",
        ),
        "Gold of hours that are retired": (
            "Gold of days whose Silver is retired is not checked",
            "Gold days without any Silver are not looked at",
        ),
    },
    VALUES: {
        "duplicates told apart by the truncated millisecond: rows are lost": (
            "the builder takes records that differ below the millisecond for duplicates: rows are lost",
            "the builder tells records of repeated instants apart by the millisecond",
            "the job tells records apart by the millisecond",
            "verify takes records that differ below the millisecond for duplicates",
        ),
        "half down, ties and cuts that only the oracle proves": (
            "the average purchase is rounded half down",
            "a tie in the ranking is broken by category first",
            "the ranking of the day has 101 products",
        ),
        "a byte order mark that is stripped where it is data": (
            "a byte order mark is stripped at every chunk's start",
            "a byte order mark is stripped from every line",
        ),
    },
    TESTS: {
        "a lock test whose processes never overlap": (
            "The two sides of a race never run at the same time",
            "The compare and the swap of a commit record are not under one lock",
            "A folder of the lake is locked by nobody",
        ),
        "a kill point that the run never reaches": (
            "No step of a sweep of faults ever fails",
            "A process that has ended goes on taking steps",
            "A call of a port that changes what is stored is no step",
        ),
        "a clock that is real on one side and simulated on the other": (
            "The sensor goes by the machine's clock, its hours by another",
            "A tick that comes late asks for the hours of now, not for those of its own time",
            "An hour that ends while it is built is committed as one that was over",
        ),
        "a replaced object that is only rewritten in place": (
            "An object that is replaced by a rename while it is read is not noticed",
            "An object that was replaced since it was listed is overwritten by an erasure",
        ),
        "a first of equal records that holds without the sort": (
            "Of equal records the one of the last object stays",
            "Of equal records the last one of an object stays",
            "The Glue job compares the pieces of an object as the shuffle delivers them",
        ),
    },
}
"""Theme -> kind -> defects."""
