"""A poison run: it ends the server whenever its node begins. After a few crashes it is failed as `poison`; the others, also those that were in memory each
time, go on and end as they must.
"""
import random
import time
import unittest

from rig import PATIENCE, Case
from stage import Stage
from workload import SCENARIO, dag, people

POISON = {'sluice': 1, 'name': 'poison', 'nodes': [
    {'id': 'before', 'type': 'transform', 'params': {'expr': '1'}}, {'id': 'poison', 'type': 'template', 'params': {'text': 'never'}}],
    'edges': [{'from': 'before', 'to': 'poison'}], 'outputs': {'never': '{{ nodes.poison.text }}'}}
# The clock has run out when the server comes back: it wakes, and so does the poison.
LATE = {**POISON, 'name': 'late', 'nodes': [{'id': 'before', 'type': 'delay', 'params': {'seconds': 0.2}}, POISON['nodes'][1]]}


class Poison(Case):
    def quarantine(self, definition, most=5, way='abort'):
        rnd = random.Random(7)
        # calls that take longer than any life of the server, so that whoever shares these lives makes no progress
        stage = Stage(self, scenario={**SCENARIO, 'defaults': {'tps': 50, 'first_ms': 1500, 'jitter': 0, 'seed': 5}},
                      env={'SLUICE_MAX_RECOVERIES': str(most)})
        stage.clerk.begin('others', [dag(rnd, stage.sink, quick=True) for _ in range(6)] + [people(rnd, stage.sink)])
        held, stage.clerk.plans[-1].acts = stage.clerk.plans[-1].acts, []  # waits for a person, all the time
        stage.drive(10 * PATIENCE, until=lambda: all(p.begun and p.again for p in stage.clerk.plans))
        stage.end()
        self.assertTrue(stage.start('node.start@poison:*:' + way))
        try:
            poison = stage.server.submit(definition)
        except OSError:  # it died before the answer left
            poison = None
        lives = 1
        while True:
            until = time.monotonic() + 5 * PATIENCE
            while not stage.dead() and time.monotonic() < until:
                time.sleep(0.01)
            if not stage.dead():
                break
            lives += 1
            self.assertLess(lives, 3 * (most + 1), 'it is never given up')
            stage.start('node.start@poison:*:' + way)
        poison = poison or stage.pg.value("SELECT id FROM runs WHERE workflow = '%s'" % definition['name'])
        run = stage.server.run(poison)
        self.assertEqual((run['status'], run['error']['code']), ('failed', 'poison'), run)
        stage.clerk.plans[-1].acts = held
        self.assertTrue(stage.drive(60 * PATIENCE), [(p.definition['name'], p.run_id) for p in stage.clerk.open()])
        print('given up after %d crashes; %d others ended as they must' % (stage.deaths - 1, len(stage.clerk.plans)))
        # Counted from its last progress. What goes before the poison may be written in any of the lives, so the count may begin again once.
        self.assertTrue(most + 1 <= stage.deaths - 1 <= 2 * (most + 1), stage.deaths)
        stage.check()

    def test_a_run_that_ends_the_server_is_given_up_and_the_others_are_not(self):
        self.quarantine(POISON)

    def test_one_that_ends_it_without_a_signal(self):
        """Whose thread did it is not known then: only who was served each time."""
        self.quarantine(POISON, way='exit')

    def test_one_that_wakes_from_a_wait_is_found_too(self):
        self.quarantine(LATE, most=3)

    def test_a_run_that_waits_for_somebody_outlives_any_number_of_crashes(self):
        rnd = random.Random(7)
        stage = Stage(self, env={'SLUICE_MAX_RECOVERIES': '2'})
        stage.clerk.begin('patient', [people(rnd, stage.sink)])
        acts, stage.clerk.plans[0].acts = stage.clerk.plans[0].acts, []
        stage.drive(10 * PATIENCE, until=lambda: stage.clerk.plans[0].again)
        stage.drive(0.3)
        for _ in range(6):
            stage.end()
            self.assertTrue(stage.start())
            stage.drive(0.1)
        stage.clerk.plans[0].acts = acts
        self.assertTrue(stage.drive(20 * PATIENCE))
        stage.check()


if __name__ == '__main__':
    unittest.main()
