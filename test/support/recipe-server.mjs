// Serves the application of a recipe, for packages that Jest cannot load: `node recipe-server.mjs <module> <platform>`.
// Sends its address to the process that has forked it, and ends with it.
import { pathToFileURL } from 'node:url';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';

process.once('disconnect', () => process.exit());

const [file, platform] = process.argv.slice(2);
const { AppModule, configure } = await import(pathToFileURL(file).href);
const adapter = platform === 'fastify' ? new FastifyAdapter() : new ExpressAdapter();
const app = await NestFactory.create(AppModule, adapter, { logger: ['error', 'fatal'] });
configure?.(app);
await app.listen(0, '127.0.0.1');
process.send(`http://127.0.0.1:${app.getHttpServer().address().port}`);
