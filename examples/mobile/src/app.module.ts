import { Module } from '@nestjs/common';
import { SessionModule } from 'nest-sessions';
import { memoryEngine } from 'nest-sessions/memory';
import { NotesController } from './notes.controller.js';

@Module({
  imports: [SessionModule.forRoot(memoryEngine(), { transport: { header: 'authorization' } })],
  controllers: [NotesController],
})
export class AppModule {}
