import { MikroORM } from '@mikro-orm/postgresql';
import { type SqlClient } from './sql-client.js';

export async function openMikroOrm(url: string): Promise<SqlClient> {
  const orm = await MikroORM.init({
    clientUrl: url,
    driverOptions: { query_timeout: 4000, connectionTimeoutMillis: 4000 },
    discovery: { warnWhenNoEntities: false },
  });
  return {
    options: {
      dialect: 'postgres',
      query: async (sql, values, returns) => {
        const pool = await orm.em.getConnection().getNativeClient();
        const { rows, rowCount } = await pool.query<object>(sql, values);
        return returns === 'rows' ? rows : rowCount;
      },
    },
    close: () => orm.close(),
  };
}
