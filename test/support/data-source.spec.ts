import { Column, DataSource, Entity, PrimaryColumn } from 'typeorm';
import { testDataSource, type TestDataSource } from './data-source.js';
import { describeOnEveryDatabase } from './services.js';

@Entity('note')
class Note {
  @PrimaryColumn({ type: 'int' })
  id!: number;

  @Column({ type: 'varchar', length: 20 })
  text!: string;
}

describeOnEveryDatabase('a test data source', (kind) => {
  const made: TestDataSource[] = [];
  const make = async (): Promise<DataSource> => {
    const database = await testDataSource(kind, [Note]);
    made.push(database);
    return database.dataSource;
  };

  afterAll(() => Promise.all(made.map((database) => database.dispose())));

  it('is where unqualified names of raw SQL lead to', async () => {
    const dataSource = await make();
    await dataSource.getRepository(Note).save({ id: 1, text: 'é🔑' });

    expect(await dataSource.query('SELECT text FROM note')).toEqual([{ text: 'é🔑' }]);
  });

  it('does not see what another one holds', async () => {
    const [one, other] = await Promise.all([make(), make()]);
    await one.getRepository(Note).save({ id: 1, text: 'mine' });

    expect(await other.getRepository(Note).count()).toBe(0);
  });

  it('leaves nothing behind', async () => {
    const { dataSource, dispose } = await testDataSource(kind, [Note]);
    await dispose();

    expect(dataSource.isInitialized).toBe(false);
    const again = new DataSource({ ...dataSource.options, synchronize: false });
    const reading = again.initialize().then(() => again.query('SELECT text FROM note'));
    await expect(reading).rejects.toThrow(/unknown database|does not exist|no such table/i);
    if (again.isInitialized) await again.destroy();
  });
});
