"""How many people a segment has, kept as they come and go: a sum over buckets, so that no two workers write one row."""

from alembic import op

revision = "0003"
down_revision = "0002"

COUNTS = """
CREATE TABLE member_counts (workspace smallint, name bytea, bucket smallint, people bigint NOT NULL,
    PRIMARY KEY (workspace, name, bucket)) WITH (fillfactor = 50);
INSERT INTO member_counts SELECT workspace, name, bucket, count(*) FROM members GROUP BY workspace, name, bucket;
"""


def upgrade() -> None:
    for statement in filter(str.strip, COUNTS.split(";")):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE member_counts")
