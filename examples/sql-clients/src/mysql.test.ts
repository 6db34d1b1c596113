import { describeOnServer } from './kit.js';
import { openPrismaOnMysql } from './prisma.js';

describeOnServer('Prisma on MySQL or MariaDB', 'MYSQL_URL', openPrismaOnMysql);
