// The OpenAI Agents SDK for JavaScript: a `RealtimeSession` over a WebSocket, with a function tool.

import { RealtimeAgent, RealtimeSession, tool } from '@openai/agents-realtime';
import { z } from 'zod';
import { LAMP, Microphone, converse, tell } from './common.mjs';

await tell(async (task, ear) => {
  const lamp = tool({
    name: LAMP,
    description: 'Light the lamp.',
    parameters: z.object({ said: z.boolean() }),
    execute: async (given) => ear.call(given),
  });
  const agent = new RealtimeAgent({ name: 'Guide', instructions: 'Be brief.', tools: [lamp] });
  const live = new RealtimeSession(agent, { transport: 'websocket', model: 'duologue' });
  const microphone = new Microphone();
  const items = new Map();

  live.on('error', (event) => ear.fail(event));
  live.on('audio', (event) => {
    ear.answer(event.responseId).sound.push(Buffer.from(event.data));
  });
  live.on('audio_stopped', () => {
    ear.last.done = true;
  });
  live.on('audio_interrupted', () => {
    ear.last.interrupted = !ear.last.done;
  });
  live.on('history_updated', (history) => {
    for (const item of history) {
      items.set(item.itemId, item);
    }
  });

  const address = `${task.url.replace('http', 'ws')}/v1/realtime?model=duologue`;
  await live.connect({ apiKey: 'none', url: address });
  microphone.stream((pcm) => live.sendAudio(new Uint8Array(pcm).buffer));
  await converse(task, microphone, ear, (text) => live.sendMessage(text));
  microphone.stop();
  const told = (role) =>
    [...items.values()]
      .filter((item) => item.type === 'message' && item.role === role)
      .map((item) => item.content.map((part) => part.transcript ?? '').join(''));
  ear.heard.push(...told('user').filter((text) => text));
  [...ear.answers.values()].forEach((answer, number) => {
    answer.text = told('assistant')[number] ?? '';
  });
  live.close();
});
