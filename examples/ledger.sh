#!/bin/sh
# A lineage of a model on generated people, and three requests on three days: one is released, one takes a person's
# near-duplicates along, one is refused. Everything is written below the folder given, or ./ledger-example.
set -eu
out=${1:-ledger-example}
people=${PEOPLE:-40} passes=${PASSES:-30} # of the people, and over the data in training
: "${MULTIDELETE:=multidelete}" "${PYTHON:=python}"
mkdir "$out" && cd "$out"
day() { MULTIDELETE_NOW="2026-12-0${1}T09:30:00Z" && export MULTIDELETE_NOW; }
ground='GDPR Art. 17(1)(b)' due=2026-12-28

# The data: people, of whom one is in it once more under another name, with other files of the same pictures.
$MULTIDELETE data "personas:people=$people,unseen=12,size=32" --write people > /dev/null
$PYTHON - << 'END'
import json
from pathlib import Path
from PIL import Image

table = Path("people/metadata.jsonl")
rows = [json.loads(line) for line in table.read_text().splitlines()]
copies = [dict(row) for row in rows if row["subject"] == "person-0002"]
for row in copies:
    picture = Image.open(Path("people", row["file_name"]))
    row["file_name"] = row["file_name"].replace("person-0002", "customer-88").replace(".png", ".jpg")
    picture.convert("RGB").resize((40, 40)).save(Path("people", row["file_name"]), quality=90)
    row["id"], row["subject"] = row["id"].replace("person-0002", "customer-88"), "customer-88"
table.write_text("".join(json.dumps(row) + "\n" for row in rows + copies))
END
$MULTIDELETE train --data people --family clip --image-size 32 --passes "$passes" --lr 2e-3 --out original
openssl genpkey -algorithm ed25519 -out sign.pem 2> /dev/null
day 1
$MULTIDELETE ledger init lineage --model original --data people --sign-key sign.pem

echo "# the first day: a request comes in, is planned, done and released"
$MULTIDELETE ledger receive lineage --forget-subject person-0001 --reference TICKET-1 --due $due --basis "$ground"
$MULTIDELETE ledger plan lineage --out plan-1
$MULTIDELETE ledger run lineage
$MULTIDELETE ledger release lineage TICKET-1 --by "engineer on duty" --despite "a rehearsal on generated people"

echo "# the second day: the plan offers near-duplicates under another name, and somebody says yes to them"
day 2
$MULTIDELETE ledger receive lineage --forget-subject person-0002 --reference TICKET-2 --due $due --basis "$ground"
$MULTIDELETE ledger plan lineage --out plan-2
awk -F, -v OFS=, 'NR > 1 && $4 < 0.2 { $6 = "yes" } { print }' plan-2/near-duplicates.csv > answers
cp answers plan-2/near-duplicates.csv && rm answers
$MULTIDELETE ledger run lineage
$MULTIDELETE ledger release lineage TICKET-2 --by "engineer on duty" --despite "a rehearsal on generated people" \
  --stale-ids stale.json

echo "# the third day: a request is refused"
day 3
$MULTIDELETE ledger receive lineage --forget-subject person-0003 --reference TICKET-3 --due $due --basis "$ground"
$MULTIDELETE ledger refuse lineage TICKET-3 --by legal --reason "Art. 17(3)(e): claims are pending"

echo "# what is left to destroy, and what the ledger says"
rm -r original && $MULTIDELETE ledger still-knowing lineage --check
$MULTIDELETE ledger show lineage
$MULTIDELETE ledger export lineage --out ledger.jsonl
for ticket in 1 2 3; do # by the verifier alone: nothing else of this package, no torch, no data
  certificate=lineage/certificates/TICKET-$ticket
  $PYTHON -I "$certificate/verifier.py" "$certificate/certificate.json" --ledger ledger.jsonl
done

echo "# is my data still in?"
$MULTIDELETE ledger show lineage --id person-0001-view-1-sensitive
$MULTIDELETE ledger forget-key lineage TICKET-1
$MULTIDELETE ledger show lineage --id person-0001-view-1-sensitive
