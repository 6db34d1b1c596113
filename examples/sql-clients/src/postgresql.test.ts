import { describeOnServer } from './kit.js';
import { openMikroOrm } from './mikro-orm.js';
import { openPrismaOnPostgresql } from './prisma.js';

describeOnServer('Prisma on PostgreSQL', 'POSTGRES_URL', openPrismaOnPostgresql);
describeOnServer('MikroORM on PostgreSQL', 'POSTGRES_URL', openMikroOrm);
