-- The site's database. Run it on the primary, once; replication carries it to the others.
--
-- Accounts are made elsewhere. What each one needs, and nothing more:
--   app_read   GRANT SELECT ON foobar.* TO app_read
--   app_write  GRANT SELECT, INSERT ON foobar.users TO app_write
--              GRANT SELECT, INSERT ON foobar.messages TO app_write
--              GRANT SELECT, INSERT ON foobar.idempotency_keys TO app_write
--              GRANT SELECT, INSERT, DELETE ON foobar.ended_sessions TO app_write
--              GRANT SELECT, INSERT, UPDATE ON foobar.guesses TO app_write
-- app_write reads too: the outcome of an idempotency key, and rows a lagging replica does not have yet.
-- Neither MASTER_GTID_WAIT nor the GTID variables that the site looks at need a privilege.

CREATE DATABASE IF NOT EXISTS foobar CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
USE foobar;

-- Names are ASCII and unique without regard to case, so nobody can pose as "Alice" by being "alice".
CREATE TABLE IF NOT EXISTS users (
    id            INT UNSIGNED NOT NULL AUTO_INCREMENT,
    name          VARCHAR(32)  CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL,
    password_hash VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created       DATETIME     NOT NULL DEFAULT (UTC_TIMESTAMP()),
    PRIMARY KEY (id),
    UNIQUE KEY users_name (name)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- `server` is the application server that took the message. Pages are read by descending id.
CREATE TABLE IF NOT EXISTS messages (
    id      BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    user_id INT UNSIGNED    NOT NULL,
    body    VARCHAR(500)    NOT NULL,
    server  VARCHAR(64)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created DATETIME        NOT NULL DEFAULT (UTC_TIMESTAMP()),
    PRIMARY KEY (id),
    KEY messages_user (user_id),
    CONSTRAINT messages_user FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- One row for each message, written in its transaction: the second request with a key finds the first.
CREATE TABLE IF NOT EXISTS idempotency_keys (
    user_id         INT UNSIGNED    NOT NULL,
    idempotency_key VARCHAR(64)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    message_id      BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (user_id, idempotency_key),
    KEY idempotency_keys_message (message_id),
    CONSTRAINT idempotency_keys_user FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT idempotency_keys_message FOREIGN KEY (message_id) REFERENCES messages (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- Sessions that were ended by logging out before their cookies ran out; a row is needed until then.
CREATE TABLE IF NOT EXISTS ended_sessions (
    session VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    ended   DATETIME    NOT NULL DEFAULT (UTC_TIMESTAMP()),
    PRIMARY KEY (session),
    KEY ended_sessions_ended (ended)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- Guesses at a user's password since the last right one; `latest` is when one was last counted.
CREATE TABLE IF NOT EXISTS guesses (
    user_id INT UNSIGNED NOT NULL,
    wrong   INT UNSIGNED NOT NULL,
    latest  DATETIME     NOT NULL,
    PRIMARY KEY (user_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;
