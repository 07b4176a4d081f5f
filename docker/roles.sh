#!/bin/sh
# Makes the two roles and their database: one owns the tables, the other serves and may not change the audit log.
# The image of PostgreSQL runs this once, when its volume is empty.
set -eu
psql --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" \
    --set owner_password="$OWNER_PASSWORD" --set serving_password="$SERVING_PASSWORD" <<'SQL'
CREATE ROLE agentidp_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE agentidp LOGIN PASSWORD :'serving_password';
CREATE DATABASE agentidp OWNER agentidp_owner;
SQL
