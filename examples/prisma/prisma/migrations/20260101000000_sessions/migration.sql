-- CreateTable
CREATE TABLE "nest_session" (
    "session_key" TEXT NOT NULL PRIMARY KEY,
    "expire_date" BIGINT NOT NULL,
    "created_at" BIGINT NOT NULL,
    "last_seen_at" BIGINT NOT NULL,
    "version" INTEGER NOT NULL,
    "expire_bucket" INTEGER NOT NULL,
    "key_hash" TEXT NOT NULL,
    "user_id" TEXT,
    "expiry" TEXT NOT NULL,
    "session_meta" TEXT NOT NULL,
    "session_log" TEXT NOT NULL,
    "session_data" TEXT NOT NULL
);

-- CreateIndex
CREATE INDEX "nest_session_expire_bucket_idx" ON "nest_session"("expire_bucket");

-- CreateIndex
CREATE INDEX "nest_session_user_id_idx" ON "nest_session"("user_id");
