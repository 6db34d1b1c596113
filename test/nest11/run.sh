#!/usr/bin/env bash
# Packs the library and uses it in a CommonJS application on Nest 11.
set -euo pipefail
cd "$(dirname "$0")"
npm ci --no-audit --no-fund
npm pack --silent --pack-destination . ../../libs/session
npm install --no-save --no-package-lock --no-audit --no-fund ./nest-sessions-*.tgz
rm nest-sessions-*.tgz
npx --prefix ../.. tsc -p tsconfig.json
node dist/main.js
